"""Gaussian blur kernels, isotropic and anisotropic."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

NARROWEST = 1e-4  # A narrower Gaussian is the identity on a pixel grid, and its inverse would overflow.
WIDEST = 1e6  # A wider one is flat on any grid, and its square would overflow.
NEGLIGIBLE = 1e-30
THINNEST = 1000  # A wider ratio of both widths is more than the inverse in float32 can tell.


def gaussian_kernel(
    size: int,
    sigma_x: float | Tensor,
    sigma_y: float | Tensor | None = None,
    theta: float | Tensor = 0.0,
) -> Tensor:
    """Gaussian kernels that sum to 1, centred on pixel `size // 2`.

    The covariance has the standard deviations `sigma_x` and `sigma_y` (the released code's lambda_1 and lambda_2)
    along axes turned by `theta` from x towards y. Width 0 gives the identity. Source: `cal_sigma`,
    `anisotropic_gaussian_kernel` and `isotropic_gaussian_kernel` of the released code. From size 11 on its
    values above 1e-30 are reproduced to the last bit (as a CPU computes them), on which LR pixels halfway between two
    grey levels depend, without its call of `torch.inverse`, for which a GPU would be waited for.

    Args:
        size: Rows and columns.
        sigma_x: Standard deviation in pixels: a number, or `[B]` for B kernels.
        sigma_y: The same along the other axis; `sigma_x` (isotropic) if None.
        theta: Angle in radians.

    Returns:
        float32 `[size, size]` (rows are y) if all are numbers, else `[B, size, size]` on the tensors' device.

    Raises:
        ValueError: The size is below 1, or a number is negative or not finite.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"gaussian_kernel: size must be a whole number of at least 1; got {size!r}.")
    sigma_x, sigma_y, theta = _number("sigma_x", sigma_x), _number("sigma_y", sigma_y), _number("theta", theta)
    device = next((v.device for v in (sigma_x, sigma_y, theta) if isinstance(v, Tensor)), None)
    axis = torch.arange(size, dtype=torch.float32, device=device) - size // 2
    x, y = axis[None, :], axis[:, None]

    def column(value: float | Tensor) -> Tensor:
        if not isinstance(value, Tensor):
            return torch.full((1, 1), value, dtype=torch.float32, device=device)
        return value.float()[..., None, None]

    width_x = column(sigma_x).clamp(NARROWEST, WIDEST)
    if sigma_y is None:
        kernel = torch.exp(-(x**2 + y**2) / (2.0 * width_x**2))
    else:
        width_y = column(sigma_y).clamp(NARROWEST, WIDEST)
        width_x, width_y = torch.maximum(width_x, width_y / THINNEST), torch.maximum(width_y, width_x / THINNEST)
        # Numbers take the released code's way, through degrees in float32.
        angle = (
            column(theta)
            if isinstance(theta, Tensor)
            else column(round(math.degrees(math.remainder(theta, 2 * math.pi)), 6)) / 180 * math.pi
        )
        kernel = torch.exp(-0.5 * _squared_distance(x, y, width_x**2, width_y**2, angle))
    kernel = kernel / kernel.sum((-2, -1), keepdim=True)
    # Subnormal numbers add nothing and slow a CPU's convolution down several times.
    return torch.where(kernel < NEGLIGIBLE, 0.0, kernel)


def _number(name: str, value: Any) -> Any:
    """A tensor as it is, anything else as a float that has been checked."""
    if value is None or isinstance(value, Tensor):
        return value
    if not isinstance(value, Real) or not math.isfinite(value) or (name != "theta" and value < 0):
        least = "finite" if name == "theta" else "finite and not negative"
        raise ValueError(f"gaussian_kernel: {name} must be a number, {least}; got {value!r}.")
    return min(float(value), WIDEST) if name != "theta" else float(value)


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
