"""Blur and downsampling in CUDA: one strided stencil in float32, with noise, rounding and clamping in the same pass."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cuda
from dasr_fast.compiled.cuda.support import obstacle
from dasr_fast.reference.bicubic import EDGE, downsampling_taps
from dasr_fast.reference.blur_downsample import After, new_padded, unpadded, unsupported_in_float32
from dasr_fast.reference.layout import image_format

__all__ = ["blur_downsample", "blur_downsample_grad_hr", "blur_downsample_grad_kernel", "obstacle", "unsupported"]

LARGEST = 128
"""Most rows and columns of a blur kernel: a block holds it whole in shared memory while it composes stencils."""

BLOCKS = 1024
"""How many blocks the gradient for the kernel is split into, or a few more."""

LAGS = (21, 24)
"""Rows and columns of the kernel that a block of its gradient takes."""


def unsupported(hr: Tensor, kernel: Tensor, *_: Any) -> str | None:
    return unsupported_in_float32(hr, kernel, LARGEST) or obstacle(hr.device)


def blur_downsample(hr: Tensor, kernel: Tensor, scale: int, mode: str, *after: Any) -> Tensor:
    """As `dasr_fast.reference.blur_downsample`."""
    noise, level, quantize = After(*after)
    layout = image_format(hr)
    hr = hr.contiguous(memory_format=layout)
    y = torch.empty(
        (*hr.shape[:-2], hr.shape[-2] // scale, hr.shape[-1] // scale),
        dtype=hr.dtype if hr.dtype.is_floating_point else kernel.dtype,
        device=hr.device,
        memory_format=layout,
    )
    if noise is not None:
        noise = noise.float().contiguous(memory_format=layout)
    if level is not None:
        level = level.float().contiguous()
    first, taps = _taps(scale, mode)
    top, left = (first - size // 2 for size in kernel.shape[1:])
    _apply(hr, kernel, taps, y, scale, first, top, left, After(noise, level, quantize), reflect=True)
    return y


def blur_downsample_grad_hr(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """As `dasr_fast.reference.blur_downsample.blur_downsample_grad_hr`."""
    kh, kw = kernel.shape[1:]
    grad_blurred = _spread(grad, scale, mode, *hr.shape[-2:])
    grad_padded = new_padded(grad_blurred, kernel)
    _, once = _taps(1, "s-fold")
    _apply(grad_blurred, kernel.flip(1, 2), once, grad_padded, 1, 0, 1 - kh, 1 - kw, After(), reflect=False)
    return unpadded(grad_padded, kernel).reshape(hr.shape).to(grad.dtype)


def blur_downsample_grad_kernel(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """As `dasr_fast.reference.blur_downsample.blur_downsample_grad_kernel`."""
    b, kh, kw = kernel.shape
    grad_kernel = torch.empty((b, kh, kw), dtype=kernel.dtype, device=kernel.device)
    if grad.numel() == 0:
        return grad_kernel.zero_()
    grad_blurred = _spread(grad, scale, mode, *hr.shape[-2:])
    layout = image_format(hr)
    lags = -(-kh // LAGS[0]) * -(-kw // LAGS[1])
    count = max(1, min(-(-BLOCKS // (b * lags)), grad_blurred[0].numel() // 1024))
    parts = torch.empty(b, count, kh, kw, dtype=torch.float32, device=hr.device)
    hr = hr.contiguous(memory_format=layout)
    cuda.blur_downsample_correlate(grad_blurred, hr, layout == torch.channels_last, parts, grad_kernel)
    return grad_kernel


@cache
def _taps(scale: int, mode: str) -> tuple[int, Tensor]:
    """First offset and weights of the taps of downsampling; on the CPU, where they become arguments of the kernels."""
    first, weights = (0, [1.0]) if mode == "s-fold" else downsampling_taps(scale)
    return first, torch.tensor(weights, dtype=torch.float32, device="cpu")


def _apply(
    hr: Tensor,
    kernel: Tensor,
    taps: Tensor,
    y: Tensor,
    scale: int,
    first: int,
    top: int,
    left: int,
    after: After,
    *,
    reflect: bool,
) -> None:
    """Write to `y` the composed stencils' sums over `hr`; the first window starts at row `top`, column `left`."""
    if y.numel() == 0:
        return
    count = taps.numel()
    rows, columns = (size + count - 1 for size in kernel.shape[1:])
    classes = 2 * EDGE + 1 if count > 1 else 1
    pitch = -(-columns // scale // 8) * 8
    stencils = torch.empty(
        kernel.shape[0] * classes**2 * scale * rows * pitch, dtype=torch.float32, device=kernel.device
    )
    cuda.blur_downsample_fused(
        *(hr, kernel.contiguous(), taps, after.noise, after.level, scale, first, top, left, reflect, after.quantize),
        *(image_format(hr) == torch.channels_last, stencils, y),
    )


def _spread(grad: Tensor, scale: int, mode: str, height: int, width: int) -> Tensor:
    """Gradient of the blurred images, `[B, N * C, height, width]` in float32: downsampling's adjoint."""
    layout = image_format(grad)
    images = 1 if grad.shape[0] == 0 else grad.shape[1:-2].numel()
    grad_blurred = torch.empty(grad.shape[0], images, height, width, dtype=torch.float32, device=grad.device)
    if grad_blurred.numel() > 0:
        first, taps = _taps(scale, mode)
        grad = grad.contiguous(memory_format=layout)
        cuda.blur_downsample_spread(grad, taps, scale, first, layout == torch.channels_last, grad_blurred)
    return grad_blurred
