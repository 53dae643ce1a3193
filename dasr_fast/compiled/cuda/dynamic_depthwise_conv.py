"""Dynamic depthwise convolution in CUDA: one pass over the features, backward too."""

import torch
from torch import Tensor

from dasr_fast.build.library import cuda
from dasr_fast.compiled.cuda.support import obstacle, parts, unsupported_features
from dasr_fast.compiled.layout import channels_last, dense, like

__all__ = [
    "dynamic_depthwise_conv",
    "dynamic_depthwise_conv_backward",
    "kernel_workspace",
    "obstacle",
    "unsupported",
]


def unsupported(x: Tensor, kernel: Tensor, negative_slope: float | None) -> str | None:
    return unsupported_features(x)


def dynamic_depthwise_conv(x: Tensor, kernel: Tensor, negative_slope: float | None) -> Tensor:
    """As `dasr_fast.reference.dynamic_depthwise_conv`."""
    x = dense(x)
    y = torch.empty_like(x)
    cuda.dynamic_depthwise_conv(x, kernel.contiguous(), negative_slope, y)
    return y


def dynamic_depthwise_conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, y: Tensor | None, negative_slope: float | None
) -> tuple[Tensor, Tensor]:
    """As `dasr_fast.reference.dynamic_depthwise_conv.dynamic_depthwise_conv_backward`."""
    x = dense(x)
    grad_x, grad_kernel = torch.empty_like(x), torch.empty_like(kernel, memory_format=torch.contiguous_format)
    sign = None if y is None else like(x, y)
    workspace = kernel_workspace(x, kernel)
    cuda.dynamic_depthwise_conv_backward(
        *(like(x, grad), x, kernel.contiguous(), sign, negative_slope, None, None, grad_x, grad_kernel, workspace)
    )
    return grad_x, grad_kernel


def kernel_workspace(x: Tensor, kernel: Tensor) -> Tensor:
    """Memory for sums of parts of a sample, `[B, parts, C, k, k]`, for dense features `x`."""
    b, c, h, w = x.shape
    # Strips of 4 columns and about 12 rows to a thread, of a block, or, contiguous, of one of a block's four warps.
    strip, channels = 4 * 12, {1: 4, 3: 2}.get(kernel.shape[-1], 1)
    block, warp = 128 * channels * strip, 32 * strip
    count = parts(b, c * h * w, block) if channels_last(x) else parts(-(-b * c // 4), h * w, warp)
    return torch.empty(b, count, *kernel.shape[1:], dtype=torch.float32, device=x.device)
