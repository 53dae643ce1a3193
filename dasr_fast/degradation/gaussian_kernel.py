"""Gaussian blur kernels, isotropic and anisotropic."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.gaussian_kernel import gaussian_kernel as gaussian_kernel_op
from dasr_fast.reference.gaussian_kernel import WIDEST


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
    given = [value for value in (sigma_x, sigma_y, theta) if isinstance(value, Tensor)]
    device = given[0].device if given else None

    def column(value: float | Tensor) -> Tensor:
        return (
            value.float() if isinstance(value, Tensor) else torch.full((1,), value, dtype=torch.float32, device=device)
        )

    # Numbers take the released code's way, through degrees in float32.
    angle = (
        column(theta)
        if isinstance(theta, Tensor)
        else column(round(math.degrees(math.remainder(theta, 2 * math.pi)), 6)) / 180 * math.pi
    )
    kernel = gaussian_kernel_op(column(sigma_x), None if sigma_y is None else column(sigma_y), angle, size)
    return kernel if given else kernel[0]


def _number(name: str, value: Any) -> Any:
    """A tensor as it is, anything else as a float that has been checked."""
    if value is None or isinstance(value, Tensor):
        return value
    if not isinstance(value, Real) or not math.isfinite(value) or (name != "theta" and value < 0):
        least = "finite" if name == "theta" else "finite and not negative"
        raise ValueError(f"gaussian_kernel: {name} must be a number, {least}; got {value!r}.")
    return min(float(value), WIDEST) if name != "theta" else float(value)
