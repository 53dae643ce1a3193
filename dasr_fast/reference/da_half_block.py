"""Half of a degradation-aware (DA) block for inference, paper Figure 2(b): DA convolution, LeakyReLU, convolution."""

import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.da_conv import da_conv
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
        x: Features `[B, C, H, W]`.
        kernel: Depthwise filters `[B, C, k, k]`.
        weight: Pointwise weights `[M, C]`.
        bias: `[M]` or None.
        gate: Channel modulation `[B, C]` (then `M` is `C`), or None for the first branch alone.
        conv_weight: `[C_out, M, 3, 3]`, applied to `z` padded with zeros.
        conv_bias: `[C_out]` or None.
        residual: `[B, C_out, H, W]` or None.
        negative_slope: Slope of all LeakyReLUs; 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the 3x3 convolution.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.
    """
    b, _, h, w = x.shape
    if 0 in (b, h, w):
        return x.new_empty(b, len(conv_weight), h, w).contiguous(memory_format=memory_format(x))
    wide = accumulation_dtype(x.dtype)
    wide_bias, wide_gate, wide_conv_bias = (t if t is None else t.to(wide) for t in (bias, gate, conv_bias))
    y = da_conv(x.to(wide), kernel.to(wide), weight.to(wide), wide_bias, wide_gate, negative_slope, True)
    y = F.conv2d(y, conv_weight.to(wide), wide_conv_bias, padding=1)
    if activate:
        y = F.leaky_relu(y, negative_slope)
    if residual is not None:
        y = y + residual.to(wide)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))
