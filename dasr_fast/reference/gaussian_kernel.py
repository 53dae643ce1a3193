"""Gaussian blur kernels, as the released code rounds them."""

import torch
from torch import Tensor

NARROWEST = 1e-4  # A narrower Gaussian is the identity on a pixel grid, and its inverse would overflow.
WIDEST = 1e6  # A wider one is flat on any grid, and its square would overflow.
NEGLIGIBLE = 1e-30
THINNEST = 1000  # A wider ratio of both widths is more than the inverse in float32 can tell.


def gaussian_kernel(sigma_x: Tensor, sigma_y: Tensor | None, theta: Tensor, size: int) -> Tensor:
    """Gaussians that sum to 1, centred on pixel `size // 2`.

    Args:
        sigma_x: Standard deviations in pixels, `[B]` in float32.
        sigma_y: The same along the other axis; None for isotropic kernels.
        theta: Angles in radians from x towards y, `[B]` in float32.
        size: Rows and columns.

    Returns:
        `[B, size, size]` in float32. Values under 1e-30 are 0.
    """
    axis = torch.arange(size, dtype=torch.float32, device=sigma_x.device) - size // 2
    x, y = axis[None, :], axis[:, None]
    width_x = sigma_x[:, None, None].clamp(NARROWEST, WIDEST)
    if sigma_y is None:
        kernel = torch.exp(-(x**2 + y**2) / (2.0 * width_x**2))
    else:
        width_y = sigma_y[:, None, None].clamp(NARROWEST, WIDEST)
        width_x, width_y = torch.maximum(width_x, width_y / THINNEST), torch.maximum(width_y, width_x / THINNEST)
        kernel = torch.exp(-0.5 * _squared_distance(x, y, width_x**2, width_y**2, theta[:, None, None]))
    kernel = kernel / kernel.sum((-2, -1), keepdim=True)
    # Subnormal numbers add nothing and slow a CPU's convolution down several times.
    return torch.where(kernel < NEGLIGIBLE, 0.0, kernel)


def _squared_distance(x: Tensor, y: Tensor, variance_x: Tensor, variance_y: Tensor, theta: Tensor) -> Tensor:
    """`[x y] inverse(covariance) [x y]^T`, in the order of LAPACK's elimination with row exchange."""
    cos, sin = torch.cos(theta), torch.sin(theta)
    xx = cos * (variance_x * cos) + sin * (variance_y * sin)
    xy = cos * (variance_x * sin) - sin * (variance_y * cos)
    yx = sin * (variance_x * cos) - cos * (variance_y * sin)  # Rounded unlike xy, and told apart there.
    yy = sin * (variance_x * sin) + cos * (variance_y * cos)
    exchange = yx.abs() > xx.abs()
    pivot, beside = torch.where(exchange, yx, xx), torch.where(exchange, yy, xy)
    below, corner = torch.where(exchange, xx, yx), torch.where(exchange, xy, yy)
    factor = below / pivot
    rest = _multiply_add(-factor, beside, corner)

    def solve(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        lower = _multiply_add(-factor, first, second) * (1 / rest)
        return _multiply_add(-beside, lower, first) * (1 / pivot), lower

    one, zero = torch.ones_like(xx), torch.zeros_like(xx)
    first, second = torch.where(exchange, zero, one), torch.where(exchange, one, zero)
    inverse_xx, inverse_yx = solve(first, second)
    inverse_xy, inverse_yy = solve(second, first)
    along_x = _multiply_add(y, inverse_yx, x * inverse_xx)
    along_y = _multiply_add(y, inverse_yy, x * inverse_xy)
    return along_x * x + along_y * y


def _multiply_add(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """`a * b + c` of float32 rounded once, as a fused multiply-add does."""
    return (a.double() * b.double() + c.double()).float()
