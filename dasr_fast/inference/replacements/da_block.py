"""The released `DAB` and its like."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast.inference.replacements.da_conv import DAConvPlan
from dasr_fast.inference.replacements.layer import LayerPlan, call_layer, signatures
from dasr_fast.inference.replacements.replacement import Proposal, plan_of
from dasr_fast.inference.replacements.structure import activation, activations
from dasr_fast.nn.activation import fixed_slope
from dasr_fast.nn.convolution import convolved, is_plain, untouched
from dasr_fast.nn.da_conv import half_block


@dataclass(frozen=True)
class DABlockPlan(LayerPlan):
    """Each activation in the pass of the convolution before it, half a block in one op where that is best.

    Attributes:
        da_convs: Names of the DA convolutions, in order.
        convs: Names of the 3x3 convolutions, one after each DA convolution.
        function: The activation after all of them but the last: its name, or a function.
    """

    released = "DAB"
    da_convs: tuple[str, ...]
    convs: tuple[str, ...]
    function: str | nn.Module

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        if not isinstance(candidate, nn.Module):
            return
        plans = {name: plan_of(child) for name, child in candidate.named_children()}
        da_convs = {name: plan for name, plan in plans.items() if isinstance(plan, DAConvPlan)}
        convs = tuple(name for name, child in candidate.named_children() if is_plain(child, 3))
        if not da_convs or len(da_convs) != len(convs):
            return
        first = next(iter(da_convs.values())).signature
        for signature in signatures(first.channels, first.representation):
            functions = activations(candidate)
            yield Proposal(
                signature.examples(), [cls(signature, tuple(da_convs), convs, function) for function in functions]
            )

    def is_intact(self, layer: nn.Module) -> bool:
        parts = map(layer.get_submodule, self.da_convs)
        return all(isinstance(plan_of(part), DAConvPlan) for part in parts) and untouched(
            activation(layer, self.function)
        )

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        function = activation(layer, self.function)
        da_convs = [layer.get_submodule(name) for name in self.da_convs]
        convs = [layer.get_submodule(name) for name in self.convs]
        y = x
        for da_conv, conv in zip(da_convs[:-1], convs[:-1], strict=True):
            y = _half(da_conv, conv, y, v, function, last=None)
        return _half(da_convs[-1], convs[-1], y, v, function, last=x)


def _half(
    da_conv: nn.Module, conv: nn.Module, x: Tensor, v: Tensor, function: nn.Module, last: Tensor | None
) -> Tensor:
    """DA convolution, activation, convolution; then the activation, or in the last half `+ last`."""
    plan = plan_of(da_conv)
    assert isinstance(plan, DAConvPlan)
    slope = plan.slope(da_conv) if untouched(da_conv) and plan.is_intact(da_conv) else None
    if slope is None or slope != fixed_slope(function):
        y = function(call_layer(da_conv, x, v))
    else:
        pointwise = plan.pointwise(da_conv)
        assert isinstance(pointwise, nn.Conv2d)
        kernel, gate = plan.kernel_and_gate(da_conv, v)
        fused = half_block(x, kernel, pointwise, gate, conv, last, negative_slope=slope)
        if fused is not None:
            return fused
        y = plan.branches(da_conv, x, v, activate=True)
    return convolved(conv, y, last, activation=function if last is None else None)
