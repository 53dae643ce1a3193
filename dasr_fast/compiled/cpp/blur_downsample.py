"""Blur and downsampling in C++: one strided stencil instead of a blur at full resolution."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.reference.bicubic import EDGE, downsampling_taps
from dasr_fast.reference.blur_downsample import After, grad_of_blurred, new_padded, unpadded, unsupported_in_float32
from dasr_fast.reference.layout import image_format

CLASSES = 2 * EDGE + 1
"""Classes of output rows that have a stencil of their own: the first two, the last two and all others."""

WINDOW = 16
"""Windows of the ends of rows are whole vectors of every instruction set."""

PARTS = 16
"""Into how many parts of its rows an image is cut for the gradient of the kernel if it is alone."""


def unsupported(hr: Tensor, kernel: Tensor, *_: Any) -> str | None:
    return unsupported_in_float32(hr, kernel)


def blur_downsample(hr: Tensor, kernel: Tensor, scale: int, mode: str, *after: Any) -> Tensor:
    """As `dasr_fast.reference.blur_downsample`."""
    noise, level, quantize = After(*after)
    height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
    y = (hr if hr.dtype.is_floating_point else kernel).new_empty(*hr.shape[:-2], height, width)
    if y.numel() > 0:
        bicubic = mode == "bicubic" and scale > 1
        stencils, ends = _composed(kernel, scale, *hr.shape[-2:]) if bicubic else (_bare(kernel), None)
        first = downsampling_taps(scale)[0] if bicubic else 0
        top, left = (first - size // 2 for size in kernel.shape[1:])
        if noise is not None:
            noise = _images(noise.float() if noise.dtype == torch.float64 else noise)
        if level is not None:
            level = level.float().contiguous()
        cpp.blur_downsample(
            _images(hr), stencils, ends, scale, -first, top, left, True, noise, level, quantize, _images(y)
        )
    return y.contiguous(memory_format=image_format(hr))


def blur_downsample_grad_hr(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """As `dasr_fast.reference.blur_downsample.blur_downsample_grad_hr`."""
    shape, (height, width) = hr.shape, hr.shape[-2:]
    if grad.numel() == 0:
        return grad.new_zeros(shape)
    grad_blurred = grad_of_blurred(_images(grad).float(), scale, mode, height, width)
    kh, kw = kernel.shape[1:]
    grad_padded = new_padded(grad_blurred, kernel)
    flipped = _bare(kernel.flip(1, 2))
    cpp.blur_downsample(grad_blurred, flipped, None, 1, 0, 1 - kh, 1 - kw, False, None, None, False, grad_padded)
    return unpadded(grad_padded, kernel).reshape(shape).to(grad.dtype)


def blur_downsample_grad_kernel(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """As `dasr_fast.reference.blur_downsample.blur_downsample_grad_kernel`."""
    if grad.numel() == 0:
        return torch.zeros_like(kernel, memory_format=torch.contiguous_format)
    images = _images(hr)
    grad_blurred = grad_of_blurred(_images(grad).float(), scale, mode, *hr.shape[-2:])
    parts = min(hr.shape[-2], -(-PARTS // (images.shape[0] * images.shape[1])))
    partial = grad_blurred.new_empty(*images.shape[:2], parts, *kernel.shape[1:])
    cpp.blur_downsample_grad_kernel(grad_blurred, images, partial)
    return partial.sum((1, 2)).to(kernel.dtype)


def _images(tensor: Tensor) -> Tensor:
    """`[B, N, C, H, W]` or `[B, C, H, W]` as contiguous `[B, N * C, H, W]`."""
    return tensor.contiguous().view(tensor.shape[0], -1, *tensor.shape[-2:])


def _bare(kernel: Tensor) -> Tensor:
    """The blur kernels themselves as stencils `[B, 1, kh, kw]`."""
    return kernel.float().contiguous()[:, None]


def _composed(kernel: Tensor, scale: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Stencils `[B, 5, U, V]`, and what is to be added at both ends of a row: `[B, 5, 2, 2, U, window]`."""
    first, weights = downsampling_taps(scale)
    b, kh, kw = kernel.shape
    u, v = kh + len(weights) - 1, kw + len(weights) - 1
    window = -(-(kw - first) // WINDOW) * WINDOW
    kernel = kernel.float().contiguous()
    stencils, ends = kernel.new_empty(b, CLASSES, u, v), kernel.new_empty(b, CLASSES, 2, 2, u, window)
    taps = kernel.new_tensor(weights, dtype=torch.float64)
    cpp.blur_stencils(kernel, taps, first, scale, height, width, stencils, ends)
    return stencils, ends
