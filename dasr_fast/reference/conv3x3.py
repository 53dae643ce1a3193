"""3x3 convolution with the activation and the sum that follow it."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.dynamic_depthwise_conv import leaky_relu_backward
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
    wide = accumulation_dtype(x.dtype)
    if x.numel() == 0:
        y = torch.einsum("bchw,oc->bohw", x.to(wide), weight[:, :, 1, 1].to(wide))
    else:
        y = F.conv2d(x.to(wide), weight.to(wide), padding=1)
    if bias is not None:
        y = y + bias.to(wide)[:, None, None]
    if negative_slope is not None:
        y = F.leaky_relu(y, negative_slope)
    if residual is not None:
        y = y + residual.to(wide)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))


def conv3x3_backward(
    grad: Tensor, x: Tensor, weight: Tensor, y: Tensor | None, negative_slope: float | None, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients for `x`, `weight` and `bias`; those that aren't `wanted` are empty.

    `y` is the output if a LeakyReLU was asked for, else None.
    """
    wide = accumulation_dtype(x.dtype)
    grad = leaky_relu_backward(grad.to(wide), y, negative_slope)
    grads = convolution_backward(grad, x.to(wide), weight.to(wide), wanted)
    return finished(x, weight, *grads)


def convolution_backward(
    grad: Tensor, x: Tensor, weight: Tensor, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of a 3x3 convolution for `x`, `weight` and `bias`, by PyTorch; None where they aren't `wanted`."""
    of_x, of_weight, of_bias = wanted
    if grad.numel() == 0:
        return x.new_zeros(x.shape), weight.new_zeros(weight.shape), weight.new_zeros(len(weight))
    # PyTorch sums over pixels more exactly in this format, and by itself more exactly than in a convolution.
    grad, x = (t.contiguous(memory_format=torch.channels_last) for t in (grad, x))
    weight = weight.contiguous()  # Of one output channel in another format, some of its convolutions refuse.
    ones, mask = [1, 1], [of_x, of_weight, False]
    grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, ones, ones, ones, False, [0, 0], 1, mask
    )
    return grad_x, grad_weight, grad.sum((0, 2, 3)) if of_bias else None


def finished(
    x: Tensor, weight: Tensor, grad_x: Tensor | None, grad_weight: Tensor | None, grad_bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients in the types of `x` and `weight` and their formats, empty tensors for None."""
    empty = x.new_empty(0)
    return (
        empty if grad_x is None else grad_x.to(x.dtype).contiguous(memory_format=memory_format(x)),
        empty if grad_weight is None else grad_weight.to(weight.dtype).contiguous(),
        empty if grad_bias is None else grad_bias.to(weight.dtype),
    )
