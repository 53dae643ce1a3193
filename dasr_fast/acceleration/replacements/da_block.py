"""The released `DAB` and its like."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.layer import NEVER, LayerPlan, Part, fast_features, parts_of, signatures
from dasr_fast.acceleration.replacement import Proposal
from dasr_fast.acceleration.replacements.da_conv import DAConvPlan
from dasr_fast.acceleration.structure import activation, activations, descendant, settled
from dasr_fast.compiled.worthwhile import FEWEST_CHANNELS, fewest_pixels
from dasr_fast.nn.activation import fixed_slope
from dasr_fast.nn.convolution import computable, convolved, in_memory_format, is_plain, untouched
from dasr_fast.nn.da_conv import half_block
from dasr_fast.reference.layout import memory_format


@dataclass(frozen=True)
class DABlockPlan(LayerPlan):
    """Features in the fastest memory format, each activation in the pass before it, half a block in one op if possible.

    Attributes:
        da_convs: The DA convolutions, in order.
        convs: Names of the 3x3 convolutions, one after each DA convolution.
        function: The activation after all of them but the last: its name, or the slope of a function.
    """

    released = "DAB"
    da_convs: tuple[Part, ...]
    convs: tuple[str, ...]
    function: str | float

    def fewest_pixels(self) -> int:
        channels = self.signature.channels
        return fewest_pixels(channels, channels) if channels >= FEWEST_CHANNELS else NEVER

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        da_convs = parts_of(candidate.named_children(), DAConvPlan)
        convs = tuple(name for name, child in candidate.named_children() if is_plain(child, 3))
        if not da_convs or len(da_convs) != len(convs):
            return
        first = da_convs[0].plan.signature
        for signature in signatures(first.channels, first.representation):
            functions = activations(candidate)
            yield Proposal(signature.examples(), [cls(signature, da_convs, convs, function) for function in functions])

    def is_intact(self, layer: nn.Module) -> bool:
        return all(da_conv.is_intact(layer) for da_conv in self.da_convs) and untouched(
            activation(layer, self.function)
        )

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        function = settled(activation(layer, self.function))
        convs = [descendant(layer, name) for name in self.convs]
        y = features = fast_features(x)
        for da_conv, conv in zip(self.da_convs[:-1], convs[:-1], strict=True):
            y = _half(layer, da_conv, conv, y, v, function, last=None)
        y = _half(layer, self.da_convs[-1], convs[-1], y, v, function, last=features)
        return in_memory_format(y, memory_format(x))


def _half(
    block: nn.Module, part: Part, conv: nn.Module, x: Tensor, v: Tensor, function: nn.Module, last: Tensor | None
) -> Tensor:
    """DA convolution, activation, convolution; then the activation, or in the last half `+ last`."""
    plan, da_conv = part.plan, descendant(block, part.path)
    assert isinstance(plan, DAConvPlan)
    slope = fixed_slope(function)
    if slope is None or not untouched(da_conv) or not plan.is_intact(da_conv):
        y = function(part(block, x, v))
    elif plan.is_depthwise():
        y = ops.dynamic_depthwise_conv(x, plan.kernel_and_gate(da_conv, v)[0], negative_slope=slope)
    elif slope != plan.slope(da_conv):
        y = function(part(block, x, v))
    elif not computable(conv, x):
        y = plan.branches(da_conv, x, v, activate=True)
    else:
        kernel, gate = plan.kernel_and_gate(da_conv, v)
        pointwise = plan.pointwise(da_conv)
        assert isinstance(pointwise, nn.Conv2d)
        return half_block(x, kernel, pointwise, gate, conv, last, negative_slope=slope)
    return convolved(conv, y, last, activation=function if last is None else None)
