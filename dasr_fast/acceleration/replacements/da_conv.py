"""The released `DA_conv` and its like."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.layer import LayerPlan, Signature, signatures
from dasr_fast.acceleration.replacement import Proposal
from dasr_fast.acceleration.structure import (
    GateNet,
    activation,
    activations,
    call_net,
    descendant,
    gate_nets,
    is_activation,
    kernel_sizes,
    net_widths,
    settled,
)
from dasr_fast.nn.convolution import is_plain, untouched
from dasr_fast.nn.da_conv import da_conv_branches, slope_of_da_conv

FEWEST_APART = 2**17
"""Numbers of contiguous features from which on a lone layer whose gate needs an op of its own is faster (measured with
AVX2 and AVX-512); others always are."""


@dataclass(frozen=True)
class SpatialBranch:
    """A branch that depends on the features alone.

    Attributes:
        name: Of the child that computes it.
        computes: What the child returns: a gate for every pixel, or one before its sigmoid, for the features or
            for their maximum and mean over the channels; or the whole branch.
        of_result: Whether the gate multiplies the depthwise branch, instead of the features in a branch of its own.
    """

    name: str
    computes: Literal["gate", "branch", "logit", "logit of maximum and mean", "logit of mean and maximum"]

    of_result: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the child computes the whole branch, and no gate."""
        return self.computes == "branch"

    def branch(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The branch `[B, C, H, W]` for features of that shape, if the child computes it."""
        y: Tensor = descendant(layer, self.name)(x)
        return y

    def gate(self, layer: nn.Module, x: Tensor) -> Tensor:
        """The gate `[B, 1, H, W]` or `[B, C, H, W]` for features `[B, C, H, W]`."""
        y: Tensor
        child = descendant(layer, self.name)
        if self.computes == "gate":
            y = child(x)
            return y
        if self.computes == "logit":
            return torch.sigmoid(child(x))
        pooled = [x.amax(1, keepdim=True), x.mean(1, keepdim=True)]
        if self.computes == "logit of mean and maximum":
            pooled.reverse()
        return torch.sigmoid(child(torch.cat(pooled, 1)))


@dataclass(frozen=True)
class DAConvPlan(LayerPlan):
    """`ops.da_conv`, or the ops that the variant needs, instead of a convolution with `B * C` groups.

    Attributes:
        kernel_size: Of the depthwise kernels.
        kernel: Name of the net that makes the kernels.
        conv: Name of the 1x1 convolution, if there is one.
        gate: The net of the channel modulation, if there is one.
        series: Whether the gate multiplies the result.
        spatial: The third branch, or the gate for every pixel of the first, if there is one.
        skip: Whether the features are added.
        function: The activation after the depthwise convolution: its name, or the slope of a function.
        activate: Whether it is applied to the result too.
    """

    released = "DA_conv"
    kernel_size: int
    kernel: str
    conv: str | None
    gate: GateNet | None
    series: bool
    spatial: SpatialBranch | None
    skip: bool
    function: str | float
    activate: bool

    def fewest_pixels(self) -> int:
        apart = self.gate is not None and (self.series or self.conv is None)
        return FEWEST_APART // self.signature.channels if apart else 0

    def is_one_op(self) -> bool:
        """Whether `ops.da_conv` may compute all of it, if the activation has a fixed slope."""
        return self.conv is not None and not self.series and self.spatial is None and not self.activate

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        for name, child in candidate.named_children():
            widths = net_widths(child)
            if widths is None or isinstance(child, nn.Conv2d):
                continue
            for channels, size in kernel_sizes(widths[1]):
                for signature in signatures(channels, widths[0]):
                    yield Proposal(signature.examples(), _plans(candidate, signature, size, name))

    @classmethod
    def is_likely(cls, candidate: Any) -> bool:
        """Whether it has a net of several layers whose output may be kernels of at least 3x3."""
        for net in candidate.children():
            widths = net_widths(net) if isinstance(net, nn.Sequential) and len(net) > 1 else None
            is_gate = isinstance(list(net.modules())[-1], nn.Sigmoid)
            if widths is not None and not is_gate and any(size > 1 for _, size in kernel_sizes(widths[1])):
                return True
        return False

    def is_intact(self, layer: nn.Module) -> bool:
        conv = self.pointwise(layer)
        uncalled = [activation(layer, self.function), *(() if conv is None else (conv,))]
        if self.gate is not None and "." in self.gate.path:
            uncalled.append(descendant(layer, self.gate.path.partition(".")[0]))
        return untouched(*uncalled) and (conv is None or is_plain(conv, 1))

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        function = activation(layer, self.function)
        if (self.conv, self.gate, self.spatial, self.skip) == (None, None, None, False):
            # By the layer's own function, since the caller may write into the result where the op would need it.
            y: Tensor = function(ops.dynamic_depthwise_conv(x, self.kernel_and_gate(layer, v)[0]))
        else:
            y = self.branches(layer, x, v)
        return function(y) if self.activate else y

    def branches(self, layer: nn.Module, x: Tensor, v: Tensor, *, activate: bool = False) -> Tensor:
        """The sum of all branches, activated if asked."""
        kernel, gate = self.kernel_and_gate(layer, v)
        function, pointwise = settled(activation(layer, self.function)), self.pointwise(layer)
        spatial = self.spatial
        if spatial is None:
            further = x if self.series and self.skip else None
            return da_conv_branches(
                x, kernel, pointwise, gate, function, series=self.series, further=further, activate=activate
            )
        if spatial.of_result:
            y = da_conv_branches(x, kernel, pointwise, None, function)
            mask = spatial.gate(layer, x)
            y = torch.addcmul(x, y, mask) if self.skip else y * mask
        else:
            y = da_conv_branches(x, kernel, pointwise, gate, function, series=self.series)
            if self.series and self.skip:
                y = y + x
            # A product and a sum in one pass.
            y = y + spatial.branch(layer, x) if spatial.is_whole else torch.addcmul(y, x, spatial.gate(layer, x))
        return function(y) if activate else y

    def pointwise(self, layer: nn.Module) -> nn.Module | None:
        """The 1x1 convolution, if there is one."""
        return None if self.conv is None else descendant(layer, self.conv)

    def kernel_and_gate(self, layer: nn.Module, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """Kernels `[B, C, k, k]` and gates `[B, C]` from the representation `[B, R]`; a skip is part of the gate."""
        channels, size = self.signature.channels, self.kernel_size
        kernel = call_net(descendant(layer, self.kernel), v).view(-1, channels, size, size)
        gate = None if self.gate is None else self.gate.gate(layer, v)
        if self.skip and not self.series:
            gate = kernel.new_ones(kernel.shape[:2]) if gate is None else gate + 1
        return kernel, gate

    def slope(self, layer: nn.Module) -> float | None:
        """The activation's slope, if one op may compute the layer and the same activation after it."""
        function = settled(activation(layer, self.function))
        return slope_of_da_conv(self.pointwise(layer), function) if self.is_one_op() else None

    def is_depthwise(self) -> bool:
        """Whether the layer is the depthwise convolution and nothing else, so that what follows may be part of it."""
        nothing = (self.conv, self.gate, self.spatial) == (None, None, None) and not self.skip
        return nothing and self.function == 1.0


def _plans(layer: nn.Module, signature: Signature, kernel_size: int, kernel: str) -> Iterator[DAConvPlan]:
    """The variants that the children other than the net called `kernel` allow."""
    others = [(name, child) for name, child in layer.named_children() if name != kernel and not is_activation(child)]
    pointwise = [(name, child) for name, child in others if is_plain(child, 1)]
    convs = [name for name, child in pointwise if child.in_channels == signature.channels and child.out_channels > 1]
    nets = list(gate_nets(layer))
    for name, child in others:
        nets += [(GateNet(f"{name}.{net.path}", net.sigmoid), widths) for net, widths in gate_nets(child)]
    wanted = (signature.representation, signature.channels)
    gates = [net for net, widths in nets if widths == wanted and net.path not in (kernel, *convs)]
    used = {net.path.partition(".")[0] for net in gates}
    spatial = list(_spatial_branches([(name, child) for name, child in others if name not in used]))
    masks = [replace(branch, of_result=True) for branch in spatial if not branch.is_whole]
    choices = (
        (False, True),
        [*convs, None],
        [*gates, None],
        (False, True),
        [None, *spatial, *masks],
        activations(layer),
        (False, True),
    )
    for skip, conv, gate, series, branch, function, activate in itertools.product(*choices):
        alone = branch is None or (branch.name != conv and not (branch.of_result and gate is not None))
        is_modulation = kernel_size == 1 and conv is None
        if (gate is not None or not series) and alone and not is_modulation:
            yield DAConvPlan(signature, kernel_size, kernel, conv, gate, series, branch, skip, function, activate)


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
