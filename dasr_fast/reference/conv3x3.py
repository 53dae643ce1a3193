"""3x3 convolution for inference, with the activation and the sum that follow it."""

import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.layout import accumulation_dtype, memory_format


def conv3x3(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, negative_slope: float | None
) -> Tensor:
    """`lrelu(x * weight + bias) + residual`, where `*` is the cross-correlation with `x` padded with zeros.

    Args:
        x: Features `[B, C, H, W]`.
        weight: `[C_out, C, 3, 3]`.
        bias: `[C_out]` or None.
        residual: `[B, C_out, H, W]` or None.
        negative_slope: Of the LeakyReLU; 0 is a ReLU, None no activation.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.
    """
    b, _, h, w = x.shape
    if 0 in (b, h, w):
        return x.new_empty(b, len(weight), h, w).contiguous(memory_format=memory_format(x))
    wide = accumulation_dtype(x.dtype)
    y = F.conv2d(x.to(wide), weight.to(wide), None if bias is None else bias.to(wide), padding=1)
    if negative_slope is not None:
        y = F.leaky_relu(y, negative_slope)
    if residual is not None:
        y = y + residual.to(wide)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))
