"""The degradation-aware convolution as a layer."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.nn.activation import Activation, make_activation
from dasr_fast.nn.channel_modulation import ChannelModulation
from dasr_fast.nn.convolution import is_plain, is_wider, uncalled_slope, unchanged, untouched
from dasr_fast.nn.inputs import features_and_representation
from dasr_fast.nn.spatial_gate import SpatialGate
from dasr_fast.nn.static_kernel import StaticKernel
from dasr_fast.ops.backends import BACKENDS


class DAConv(nn.Module):
    """Depthwise convolution with kernels made from the representation, 1x1 convolution, channel modulation.

    The released module `DA_conv`, with its parameter names; paper Figure 2(c). The options cover the
    variants in models built on DASR; whatever they are, one kernel computes what it can (`ops.da_conv`).

    Args:
        channels: Channels C of the features.
        representation: Width of the degradation representation.
        kernel_size: Size k of the depthwise kernels: 1, 3, 5 or 7.
        reduction: Of `ChannelModulation`.
        out_channels: Channels after the 1x1 convolution; as many as before if None.
        hidden: Width of the hidden layer that makes the kernels; `representation` if None.
        activation: What follows the depthwise convolution.
        kernel_activation: What the hidden layer has.
        negative_slope: Slope of every "leaky_relu", and the initial one of every "prelu".
        depthwise: Whether the depthwise kernels are made from the representation ("dynamic", as released), or learned
            like those of any convolution ("static"), for ablation.
        pointwise: Whether there is a 1x1 convolution.
        gate: Channel modulation of the input, added ("parallel", as released), of the result ("series"), or "none".
        spatial_gate: Whether `x * SpatialGate(x)` is added as well, with a convolution of the kernel's size.
        backend: See `dasr_fast.ops`.

    Raises:
        ValueError: The options contradict each other.
    """

    def __init__(
        self,
        channels: int,
        representation: int = 64,
        kernel_size: int = 3,
        reduction: int = 8,
        *,
        out_channels: int | None = None,
        hidden: int | None = None,
        activation: Activation = "leaky_relu",
        kernel_activation: Activation = "leaky_relu",
        negative_slope: float = 0.1,
        depthwise: Literal["dynamic", "static"] = "dynamic",
        pointwise: bool = True,
        gate: Literal["parallel", "series", "none"] = "parallel",
        spatial_gate: bool = False,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if kernel_size not in (1, 3, 5, 7):
            raise ValueError(f"DAConv: kernel_size must be 1, 3, 5 or 7; got {kernel_size}.")
        if not 0 <= negative_slope <= 1:
            raise ValueError(f"DAConv: negative_slope must be from 0 to 1; got {negative_slope}.")
        if backend not in ("auto", *BACKENDS):
            raise ValueError(f"DAConv: backend must be one of auto, {', '.join(BACKENDS)}; got {backend!r}.")
        if depthwise not in ("dynamic", "static"):
            raise ValueError(f"DAConv: depthwise must be dynamic or static; got {depthwise!r}.")
        if gate not in ("parallel", "series", "none"):
            raise ValueError(f"DAConv: gate must be parallel, series or none; got {gate!r}.")
        out_channels = channels if out_channels is None else out_channels
        if out_channels != channels and (not pointwise or gate == "parallel" or spatial_gate):
            raise ValueError(
                f"DAConv: {out_channels} out_channels for {channels} channels need the 1x1 convolution, and no gate "
                "that is added."
            )
        self.channels, self.representation, self.kernel_size = channels, representation, kernel_size
        self.gate, self.backend = gate, backend
        hidden = representation if hidden is None else hidden
        self.kernel: nn.Sequential | StaticKernel = (
            nn.Sequential(
                nn.Linear(representation, hidden, bias=False),
                make_activation(kernel_activation, negative_slope),
                nn.Linear(hidden, channels * kernel_size**2, bias=False),
            )
            if depthwise == "dynamic"
            else StaticKernel(channels, kernel_size)
        )
        self.conv = nn.Conv2d(channels, out_channels, 1) if pointwise else None
        self.ca = (
            ChannelModulation(out_channels, representation, reduction, negative_slope=negative_slope, backend=backend)
            if gate != "none"
            else None
        )
        self.sa = SpatialGate(kernel_size) if spatial_gate else None
        self.relu = make_activation(activation, negative_slope)

    def forward(self, x: Tensor | Sequence[Tensor], v: Tensor | None = None, *, activate: bool = False) -> Tensor:
        """Features `[B, C, H, W]` and representation `[B, representation]` to `[B, out_channels, H, W]`.

        Args:
            x: Features, or the pair `[x, v]`.
            v: Degradation representation, one for each sample.
            activate: Whether the layer's activation is applied to the result too.
        """
        x, v = features_and_representation("DAConv", x, v, self.channels, self.representation)
        kernel, gate = self.kernel_and_gate(v)
        return da_conv_branches(
            x,
            kernel,
            self.conv,
            gate,
            self.relu,
            modulation=None if gate is not None or self.ca is None else partial(self.ca, v=v),
            series=self.gate == "series",
            further=None if self.sa is None else x * self.sa(x),
            activate=activate,
            backend=self.backend,
        )

    def kernel_and_gate(self, v: Tensor) -> tuple[Tensor, Tensor | None]:
        """Depthwise filters `[B, C, k, k]` and channel modulation `[B, C_out]` for representations `[B, ...]`.

        There is no modulation without `ca`, and where `ca` has to be called, since it has hooks or another forward.
        """
        kernel = self.kernel(v).unflatten(1, (self.channels, self.kernel_size, self.kernel_size))
        return kernel, self.ca.gate(v) if self.ca is not None and unchanged(self.ca, ChannelModulation) else None

    def slope_of_op(self) -> float | None:
        """The slope with which `ops.da_conv` computes the layer, or None where that is something else."""
        parallel = self.ca is None or (self.gate == "parallel" and unchanged(self.ca, ChannelModulation))
        return slope_of_da_conv(self.conv, self.relu) if parallel and self.sa is None else None


def slope_of_da_conv(conv: nn.Module | None, activation: nn.Module) -> float | None:
    """The slope with which `ops.da_conv` computes a 1x1 convolution and an activation, None if one must be called."""
    return uncalled_slope(activation) if is_plain(conv, 1) and untouched(conv) else None


def da_conv_branches(
    x: Tensor,
    kernel: Tensor,
    conv: nn.Module | None,
    gate: Tensor | None,
    activation: nn.Module,
    *,
    modulation: Callable[[Tensor], Tensor] | None = None,
    series: bool = False,
    further: Tensor | None = None,
    activate: bool = False,
    backend: str = "auto",
) -> Tensor:
    """Both branches of a DA convolution, in as few passes over the features as its variant allows.

    Args:
        x: Features `[B, C, H, W]`.
        kernel: Depthwise filters `[B, C, k, k]`, made from the representation.
        conv: 1x1 convolution, if there is one.
        gate: Channel modulation `[B, C]`, if there is one.
        activation: What follows the depthwise convolution.
        modulation: What multiplies features by the gate, if that has to be called; then there is no `gate`.
        series: Whether the gate multiplies the result, instead of being added times `x`.
        further: A third branch `[B, C_out, H, W]`, such as a spatial gate times `x`, if there is one.
        activate: Whether the activation is applied to the result too.
        backend: See `dasr_fast.ops`.

    Returns:
        `[B, C_out, H, W]`.
    """
    slope = slope_of_da_conv(conv, activation)
    if slope is not None and modulation is None and further is None and not (series and gate is not None):
        assert isinstance(conv, nn.Conv2d)
        weight = conv.weight.flatten(1)
        return ops.da_conv(x, kernel, weight, conv.bias, gate, negative_slope=slope, activate=activate, backend=backend)
    # Whoever gets the op's own result may change it in place, and the op needs its activation's sign.
    own = conv is None and gate is None and modulation is None and further is None
    slope = None if own else uncalled_slope(activation)
    y = ops.dynamic_depthwise_conv(x, kernel, negative_slope=None if slope == 1.0 else slope, backend=backend)
    if slope is None:
        y = activation(y)
    if conv is not None:
        y = conv(y)
    if gate is not None and series:
        joined = further if further is not None and further.dtype == y.dtype else None
        y = ops.channel_modulation(y, gate, joined, backend=backend)
        further = further if joined is None else None
    elif gate is not None:
        y = ops.channel_modulation(x, gate, y, backend=backend)
    elif modulation is not None:
        y = modulation(y) if series else y + modulation(x)
    if further is not None:
        y = y + further
    return activation(y) if activate else y


def half_block(
    x: Tensor,
    kernel: Tensor,
    pointwise: nn.Conv2d,
    gate: Tensor | None,
    conv: nn.Conv2d,
    residual: Tensor | None,
    *,
    negative_slope: float,
    backend: str = "auto",
) -> Tensor:
    """Half of a DA block by `ops.da_half_block`.

    Args:
        x: Features `[B, C, H, W]`.
        kernel: Depthwise filters `[B, C, k, k]`.
        pointwise: 1x1 convolution of the DA convolution.
        gate: Channel modulation `[B, C]`, if there is one.
        conv: The 3x3 convolution after the DA convolution, which is `computable`.
        residual: Added last in a block's second half; None in its first, where an activation is last.
        negative_slope: Of all activations.
        backend: See `dasr_fast.ops`; another computes the 3x3 convolution where it can't.
    """
    added = None if residual is None or is_wider(residual) else residual
    y = ops.da_half_block(
        *(x, kernel, pointwise.weight.flatten(1), pointwise.bias, gate, conv.weight, conv.bias, added),
        negative_slope=negative_slope,
        activate=residual is None,
        backend=(backend, "auto"),
    )
    return y if residual is None or residual is added else y + residual
