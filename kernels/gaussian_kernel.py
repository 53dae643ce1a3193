"""Gaussian blur kernels in Triton: a whole batch in one launch.

In the axes of the Gaussian its covariance is diagonal, so its inverse is that of two numbers.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dasr_fast.kernels.launch import launch
from dasr_fast.kernels.requirements import obstacle
from dasr_fast.reference.gaussian_kernel import NARROWEST, NEGLIGIBLE, THINNEST, WIDEST

LARGEST = 128
"""Most rows and columns: a program holds one kernel."""


def unsupported(sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int) -> str | None:
    return f"it makes kernels of at most {LARGEST}x{LARGEST}" if size > LARGEST else obstacle(sigma_x.device)


def gaussian_kernel(sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int) -> Tensor:
    """As `dasr_fast.reference.gaussian_kernel`, rounded otherwise."""
    kernel = torch.empty(sigma_x.shape[0], size, size, dtype=torch.float32, device=sigma_x.device)
    block = triton.next_power_of_2(size)
    launch(
        _gaussian,
        sigma_x.shape[0],
        *(sigma_x, sigma_x if sigma_y is None else sigma_y, theta, kernel, size),
        *(sigma_x.stride(0), 0 if sigma_y is None else sigma_y.stride(0), theta.stride(0)),
        ISOTROPIC=sigma_y is None,
        NARROWEST=NARROWEST,
        WIDEST=WIDEST,
        THINNEST=THINNEST,
        NEGLIGIBLE=NEGLIGIBLE,
        BLOCK=block,
        num_warps=4 if block <= 64 else 16,
    )
    return kernel


@triton.jit
def _within(value, low, high):
    """The value, or the limit that it is beyond; NaN as it is."""
    return tl.where(value < low, low, tl.where(value > high, high, value))


@triton.jit
def _gaussian(
    sigma_x, sigma_y, theta, kernel, size, xb, yb, tb,
    ISOTROPIC: tl.constexpr, NARROWEST: tl.constexpr, WIDEST: tl.constexpr, THINNEST: tl.constexpr,
    NEGLIGIBLE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    b = tl.program_id(0).to(tl.int64)
    row, column = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    inside = (row < size) & (column < size)
    y, x = (row - size // 2).to(tl.float32), (column - size // 2).to(tl.float32)
    width_x = _within(tl.load(sigma_x + b * xb), NARROWEST, WIDEST)
    if ISOTROPIC:
        squared = (x * x + y * y) / (width_x * width_x)
    else:
        width_y = _within(tl.load(sigma_y + b * yb), NARROWEST, WIDEST)
        width_x = tl.where(width_x < width_y / THINNEST, width_y / THINNEST, width_x)
        width_y = tl.where(width_y < width_x / THINNEST, width_x / THINNEST, width_y)
        angle = tl.load(theta + b * tb)
        along = (x * tl.cos(angle) + y * tl.sin(angle)) / width_x
        beside = (y * tl.cos(angle) - x * tl.sin(angle)) / width_y
        squared = along * along + beside * beside
    value = tl.where(inside, tl.exp(-0.5 * squared), 0.0)
    value /= tl.sum(value)
    tl.store(kernel + (b * size + row) * size + column, tl.where(value < NEGLIGIBLE, 0.0, value), mask=inside)
