"""The released `DA_conv` and its like."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dasr_fast.inference.replacements.channel_modulation import GateNet, gate_nets
from dasr_fast.inference.replacements.layer import LayerPlan, Signature, signatures
from dasr_fast.inference.replacements.replacement import Proposal
from dasr_fast.inference.replacements.structure import (
    activation,
    activations,
    call_net,
    is_activation,
    kernel_sizes,
    net_widths,
)
from dasr_fast.nn.convolution import is_plain, untouched
from dasr_fast.nn.da_conv import da_conv_branches, slope_of_da_conv


@dataclass(frozen=True)
class SpatialBranch:
    """A branch that depends on the features alone.

    Attributes:
        name: Of the child that computes it.
        computes: What the child returns: a gate for every pixel, or one before its sigmoid, for the features or
            for their maximum and mean over the channels; or the whole branch.
    """

    name: str
    computes: Literal["gate", "branch", "logit", "logit of maximum and mean", "logit of mean and maximum"]

    def branch(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The branch `[B, C, H, W]` for features of that shape."""
        child = layer.get_submodule(self.name)
        if self.computes in ("gate", "branch"):
            y: Tensor = child(x)
            return y if self.computes == "branch" else x * y
        if self.computes == "logit":
            return x * torch.sigmoid(child(x))
        pooled = [x.amax(1, keepdim=True), x.mean(1, keepdim=True)]
        if self.computes == "logit of mean and maximum":
            pooled.reverse()
        return x * torch.sigmoid(child(torch.cat(pooled, 1)))


@dataclass(frozen=True)
class DAConvPlan(LayerPlan):
    """`ops.da_conv`, or the ops that the variant needs, instead of a convolution with `B * C` groups.

    Attributes:
        kernel_size: Of the depthwise kernels.
        kernel: Name of the net that makes the kernels.
        conv: Name of the 1x1 convolution, if there is one.
        gate: The net of the channel modulation, if there is one.
        series: Whether the gate multiplies the result.
        spatial: The third branch, if there is one.
        function: The activation after the depthwise convolution: its name, or a function.
        activate: Whether it is applied to the result too.
    """

    released = "DA_conv"
    kernel_size: int
    kernel: str
    conv: str | None
    gate: GateNet | None
    series: bool
    spatial: SpatialBranch | None
    function: str | nn.Module
    activate: bool

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        if not isinstance(candidate, nn.Module):
            return
        for name, child in candidate.named_children():
            widths = net_widths(child)
            if widths is None or isinstance(child, nn.Conv2d):
                continue
            for channels, size in kernel_sizes(widths[1]):
                for signature in signatures(channels, widths[0]):
                    yield Proposal(signature.examples(), _plans(candidate, signature, size, name))

    def is_intact(self, layer: nn.Module) -> bool:
        conv = self.pointwise(layer)
        uncalled = [activation(layer, self.function), *(() if conv is None else (conv,))]
        if self.gate is not None and "." in self.gate.path:
            uncalled.append(layer.get_submodule(self.gate.path.partition(".")[0]))
        return untouched(*uncalled) and (conv is None or is_plain(conv, 1))

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        y = self.branches(layer, x, v)
        return activation(layer, self.function)(y) if self.activate else y

    def branches(self, layer: nn.Module, x: Tensor, v: Tensor, *, activate: bool = False) -> Tensor:
        """The sum of all branches, activated if asked."""
        kernel, gate = self.kernel_and_gate(layer, v)
        return da_conv_branches(
            x,
            kernel,
            self.pointwise(layer),
            gate,
            activation(layer, self.function),
            series=self.series,
            further=None if self.spatial is None else self.spatial.branch(layer, x),
            activate=activate,
        )

    def pointwise(self, layer: nn.Module) -> nn.Module | None:
        """The 1x1 convolution, if there is one."""
        return None if self.conv is None else layer.get_submodule(self.conv)

    def kernel_and_gate(self, layer: nn.Module, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """Kernels `[B, C, k, k]` and gates `[B, C]` from the representation `[B, R]`."""
        kernel = call_net(layer.get_submodule(self.kernel), v)
        kernel = kernel.view(-1, self.signature.channels, self.kernel_size, self.kernel_size)
        return kernel, None if self.gate is None else self.gate.gate(layer, v)

    def slope(self, layer: nn.Module) -> float | None:
        """The activation's slope, if one op may compute the layer and the same activation after it."""
        simple = not self.series and self.spatial is None and not self.activate
        return slope_of_da_conv(self.pointwise(layer), activation(layer, self.function)) if simple else None


def _plans(layer: nn.Module, signature: Signature, kernel_size: int, kernel: str) -> Iterator[DAConvPlan]:
    """The variants that the children other than the net called `kernel` allow."""
    others = [(name, child) for name, child in layer.named_children() if name != kernel and not is_activation(child)]
    convs = [name for name, child in others if is_plain(child, 1) and child.in_channels == signature.channels]
    nets = list(gate_nets(layer))
    for name, child in others:
        nets += [(GateNet(f"{name}.{net.path}", net.sigmoid), widths) for net, widths in gate_nets(child)]
    wanted = (signature.representation, signature.channels)
    gates = [net for net, widths in nets if widths == wanted and net.path not in (kernel, *convs)]
    used = {*convs, *(net.path.partition(".")[0] for net in gates)}
    spatial = _spatial_branches([(name, child) for name, child in others if name not in used])
    choices = ([*convs, None], [*gates, None], (False, True), [None, *spatial], activations(layer), (False, True))
    for conv, gate, series, branch, function, activate in itertools.product(*choices):
        is_modulation = kernel_size == 1 and conv is None
        if (gate is not None or not series) and not is_modulation:
            yield DAConvPlan(signature, kernel_size, kernel, conv, gate, series, branch, function, activate)


def _spatial_branches(children: list[tuple[str, nn.Module]]) -> Iterator[SpatialBranch]:
    for name, child in children:
        if isinstance(child, nn.Conv2d) and child.in_channels == 2:
            yield SpatialBranch(name, "logit of maximum and mean")
            yield SpatialBranch(name, "logit of mean and maximum")
        elif isinstance(child, nn.Conv2d):
            yield SpatialBranch(name, "logit")
        else:
            yield SpatialBranch(name, "gate")
            yield SpatialBranch(name, "branch")
