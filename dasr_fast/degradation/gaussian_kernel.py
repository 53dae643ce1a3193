"""Gaussian blur kernels, isotropic and anisotropic."""

import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.checks import shown
from dasr_fast.ops.gaussian_kernel import gaussian_kernel as gaussian_kernel_op
from dasr_fast.reference.gaussian_kernel import WIDEST


def gaussian_kernel(
    size: int, sigma_x: float | Tensor, sigma_y: float | Tensor | None = None, theta: float | Tensor = 0.0
) -> Tensor:
    """Gaussian kernels that sum to 1, centred on pixel `size // 2`.

    The covariance has the standard deviations `sigma_x` and `sigma_y` (the released code's lambda_1 and lambda_2)
    along axes turned by `theta` from x towards y. Width 0 gives the identity. Source: `cal_sigma`,
    `anisotropic_gaussian_kernel` and `isotropic_gaussian_kernel` of the released code. From size 11 on, values above
    1e-30 are the same as there to the last bit (as a CPU computes them), since LR pixels halfway between two grey
    levels depend on it; but nothing waits for a GPU, as `torch.inverse` does there.

    Args:
        size: Rows and columns.
        sigma_x: Standard deviation in pixels: a number, or `[B]` for B kernels.
        sigma_y: The same along the other axis; `sigma_x` (isotropic) if None.
        theta: Angle in radians: a number, or `[B]`.

    Returns:
        float32 `[size, size]` (rows are y) if all are numbers, else `[B, size, size]` on the tensors' device.

    Raises:
        TypeError: A tensor isn't one of real numbers.
        ValueError: The size is below 1, a tensor has another shape, or a number is negative or not finite. Numbers in
            tensors on a GPU aren't checked, since that would wait for it; NaN there gives kernels of NaN.
    """
    if not isinstance(size, int) or size < 1:
        raise ValueError(f"gaussian_kernel: size must be a whole number of at least 1; got {shown(size)}.")
    sigma_x, theta = _number("sigma_x", sigma_x), _number("theta", theta)
    sigma_y = None if sigma_y is None else _number("sigma_y", sigma_y)
    given = [value for value in (sigma_x, sigma_y, theta) if isinstance(value, Tensor)]
    if len({len(value) for value in given} - {1}) > 1:
        raise ValueError(
            f"gaussian_kernel: tensors must have one length; got {', '.join(str(len(value)) for value in given)}."
        )
    device = given[0].device if given else None

    def column(value: float | Tensor) -> Tensor:
        if isinstance(value, Tensor):
            return value.float()
        return torch.full((1,), value, dtype=torch.float32, device=device)

    if isinstance(theta, Tensor):
        angle = column(theta)
    else:  # Numbers take the released code's way, through degrees in float32.
        angle = column(round(math.degrees(math.remainder(theta, 2 * math.pi)), 6)) / 180 * math.pi
    kernel = gaussian_kernel_op(column(sigma_x), None if sigma_y is None else column(sigma_y), angle, size)
    return kernel if given else kernel[0]


def _number(name: str, value: Any) -> Any:
    """A tensor as it is, anything else as a float; either has been checked."""
    accepted = "finite" if name == "theta" else "finite and not negative"
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError(f"gaussian_kernel: {name} must be real; got {str(value.dtype).removeprefix('torch.')}.")
        if value.dim() != 1:
            raise ValueError(f"gaussian_kernel: {name} must be a number or [B]; got {list(value.shape)}.")
        looked_at = value.device.type == "cpu" and not torch.compiler.is_compiling()
        if looked_at and not (value.isfinite().all() and (name == "theta" or (value >= 0).all())):
            raise ValueError(f"gaussian_kernel: {name} must hold numbers, {accepted}; it holds others.")
        return value
    if not isinstance(value, Real) or not math.isfinite(value) or (name != "theta" and value < 0):
        raise ValueError(f"gaussian_kernel: {name} must be a number, {accepted}; got {shown(value)}.")
    return min(float(value), WIDEST) if name != "theta" else float(value)
