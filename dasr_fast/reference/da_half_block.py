"""Half of a degradation-aware (DA) block, paper Figure 2(b): DA convolution, LeakyReLU, convolution."""

from collections.abc import Callable

from torch import Tensor

from dasr_fast.reference.conv3x3 import conv3x3, conv3x3_backward
from dasr_fast.reference.da_conv import da_conv, da_conv_backward
from dasr_fast.reference.layout import accumulation_dtype, memory_format


def da_half_block(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    residual: Tensor | None,
    negative_slope: float,
    activate: bool,
) -> Tensor:
    """`conv(z) + conv_bias` of `z = lrelu(da_conv(x, ...))`, then LeakyReLU if `activate`, then `+ residual`.

    Args:
        x, kernel, weight, bias, gate: As for `da_conv`, with `M` channels out.
        conv_weight: `[C_out, M, 3, 3]`, applied to `z` padded with zeros.
        conv_bias: `[C_out]` or None.
        residual: `[B, C_out, H, W]` or None.
        negative_slope: Slope of all LeakyReLUs; 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the 3x3 convolution.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.
    """
    wide = accumulation_dtype(x.dtype)
    bias, gate, conv_bias, residual = (t if t is None else t.to(wide) for t in (bias, gate, conv_bias, residual))
    z = da_conv(x.to(wide), kernel.to(wide), weight.to(wide), bias, gate, negative_slope, True)
    y = conv3x3(z, conv_weight.to(wide), conv_bias, residual, negative_slope if activate else None)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))


def backward_by(
    da_conv: Callable[..., Tensor],
    da_conv_backward: Callable[..., tuple[Tensor, ...]],
    conv3x3_backward: Callable[..., tuple[Tensor, ...]],
) -> Callable[..., tuple[Tensor, ...]]:
    """`da_half_block_backward` by functions of any backend."""

    def da_half_block_backward(
        grad: Tensor,
        x: Tensor,
        kernel: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gate: Tensor | None,
        conv_weight: Tensor,
        y: Tensor | None,
        negative_slope: float,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
        z = da_conv(x, kernel, weight, bias, gate, negative_slope, True)
        grad_z, *of_conv = conv3x3_backward(grad, z, conv_weight, y, negative_slope, [True, True, True])
        of_da_conv = da_conv_backward(grad_z, x, kernel, weight, gate, z, negative_slope)
        return *of_da_conv, *of_conv  # type: ignore[return-value]

    return da_half_block_backward


da_half_block_backward = backward_by(da_conv, da_conv_backward, conv3x3_backward)
"""Gradients for `x`, `kernel`, `weight`, `bias`, `gate`, `conv_weight` and `conv_bias`; empty for no gate.

`y` is the output if a LeakyReLU was asked for, else None.
"""
