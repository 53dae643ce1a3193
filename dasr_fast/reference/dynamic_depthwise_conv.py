"""Dynamic depthwise convolution: every sample and channel has a filter of its own (paper Figure 2(c))."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.layout import accumulation_dtype, memory_format


def dynamic_depthwise_conv(x: Tensor, kernel: Tensor, negative_slope: float | None) -> Tensor:
    """`y[b, c] = x[b, c]` cross-correlated with `kernel[b, c]`, zero padding `k // 2`, then LeakyReLU.

    Args:
        x: Features `[B, C, H, W]`.
        kernel: Filters `[B, C, k, k]` of odd size.
        negative_slope: Slope of the LeakyReLU; None for no activation.

    Returns:
        `[B, C, H, W]`, in the type and memory format of `x`.
    """
    if x.numel() == 0:
        return x.clone(memory_format=memory_format(x))
    wide = accumulation_dtype(x.dtype)
    y = _depthwise(x.to(wide), kernel.to(wide))
    if negative_slope is not None:
        return F.leaky_relu(y, negative_slope).to(x.dtype).contiguous(memory_format=memory_format(x))
    return y.to(x.dtype, copy=True, memory_format=memory_format(x))  # A view could not be changed in place.


def dynamic_depthwise_conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, y: Tensor | None, negative_slope: float | None
) -> tuple[Tensor, Tensor]:
    """Gradients for `x` and `kernel`; `y` is the output if a LeakyReLU was asked for, else None."""
    if x.numel() == 0:
        return torch.empty_like(x, memory_format=memory_format(x)), torch.zeros_like(
            kernel, memory_format=torch.contiguous_format
        )
    wide = accumulation_dtype(x.dtype)
    grad = leaky_relu_backward(grad.to(wide), y, negative_slope)
    grad_x, grad_kernel = depthwise_backward(grad, x.to(wide), kernel.to(wide))
    return (
        grad_x.to(x.dtype).contiguous(memory_format=memory_format(x)),
        grad_kernel.to(kernel.dtype).contiguous(),
    )


def leaky_relu_backward(grad: Tensor, y: Tensor | None, negative_slope: float | None) -> Tensor:
    """Gradient before a LeakyReLU with output (or input) `y`; `grad` itself where there was none."""
    return grad if y is None or negative_slope is None else torch.where(y > 0, grad, grad * negative_slope)


def depthwise_backward(grad: Tensor, x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of the bare depthwise convolution for `x` and `kernel`, all of one type."""
    b, c, h, w = x.shape
    k = kernel.shape[-1]
    grad_x, grad_kernel, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, b * c, h, w),
        x.reshape(1, b * c, h, w),
        kernel.reshape(b * c, 1, k, k),
        None,
        [1, 1],
        [k // 2, k // 2],
        [1, 1],
        False,
        [0, 0],
        b * c,
        [True, True, False],
    )
    return grad_x.reshape(b, c, h, w), grad_kernel.reshape(b, c, k, k)


def _depthwise(x: Tensor, kernel: Tensor) -> Tensor:
    b, c, h, w = x.shape
    k = kernel.shape[-1]
    y = F.conv2d(x.reshape(1, b * c, h, w), kernel.reshape(b * c, 1, k, k), padding=k // 2, groups=b * c)
    return y.reshape(b, c, h, w)
