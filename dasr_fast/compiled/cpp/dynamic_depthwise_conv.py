"""Dynamic depthwise convolution in C++: one pass over the features, backward too."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import row_parts, sums, unsupported_types
from dasr_fast.compiled.layout import channels_last, dense, like


def unsupported(x: Tensor, *_: Any) -> str | None:
    return unsupported_types(x)


def dynamic_depthwise_conv(x: Tensor, kernel: Tensor, negative_slope: float | None) -> Tensor:
    """As `dasr_fast.reference.dynamic_depthwise_conv`."""
    x = dense(x)
    y = torch.empty_like(x)
    cpp.dynamic_depthwise_conv(x, kernel.contiguous(), negative_slope, y)
    return y


def dynamic_depthwise_conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, y: Tensor | None, negative_slope: float | None
) -> tuple[Tensor, Tensor]:
    """As `dasr_fast.reference.dynamic_depthwise_conv.dynamic_depthwise_conv_backward`."""
    x = dense(x)
    grad_x = torch.empty_like(x)
    grad_kernel = kernel_sums(x, kernel)
    sign = None if y is None else like(x, y)
    cpp.dynamic_depthwise_conv_backward(
        like(x, grad), x, kernel.contiguous(), sign, negative_slope, grad_x, grad_kernel
    )
    return grad_x, kernel_gradient(grad_kernel, x, kernel)


def kernel_sums(x: Tensor, kernel: Tensor) -> Tensor:
    """Memory for the gradient for `kernel`, or channels-last for the parts of it, `[B, parts, k * k, C]`."""
    b, c, k, _ = kernel.shape
    if channels_last(x):
        return sums(x, b, row_parts(x), k * k, c)
    return sums(x, b, c, k, k)


def kernel_gradient(parts: Tensor, x: Tensor, kernel: Tensor) -> Tensor:
    """The gradient for `kernel` from what a raw op wrote to `kernel_sums`."""
    if channels_last(x):
        parts = parts.sum(1).transpose(1, 2).contiguous()
    return parts.view(kernel.shape).to(kernel.dtype)
