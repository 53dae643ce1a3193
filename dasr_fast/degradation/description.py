"""Numbers that describe degradations, for those who learn to predict them."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

GREY_LEVELS = 6.25
"""Grey levels of noise that count as one pixel of blur: the paper has 4 pixels and 25 grey levels at most."""


class Quantity(NamedTuple):
    """What some of the numbers measure.

    Attributes:
        name: With the unit.
        numbers: How many it takes.
        unit: What a difference of 1 between numbers is, in that unit.
    """

    name: str
    numbers: int
    unit: float = 1.0


def count(quantities: Iterable[Quantity]) -> int:
    """How many numbers all of them take."""
    return sum(quantity.numbers for quantity in quantities)


BLUR = Quantity("blur_error_pixels", 3)


def blur_numbers(kernels: Tensor) -> Tensor:
    """xx, xy and yy of the square root of each kernel's covariance, `[B, 3]`, for `kernels` `[B, kh, kw]`.

    They are in pixels, as widths are, and have no jump where angles have one. They tell Gaussian kernels completely,
    and of others the extent.
    """
    kernels = kernels.float()
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    rows, columns = (torch.arange(size, dtype=torch.float32, device=kernels.device) for size in kernels.shape[1:])
    y = rows[:, None] - (kernels.sum(2) * rows).sum(1)[:, None, None]
    x = columns - (kernels.sum(1) * columns).sum(1)[:, None, None]
    xx, xy, yy = ((kernels * product).sum((1, 2)) for product in (x * x, x * y, y * y))
    # Cayley and Hamilton: the square root of M is (M + sqrt(det M)) / sqrt(tr M + 2 sqrt(det M)).
    s = (xx * yy - xy * xy).clamp(min=0).sqrt()
    t = (xx + yy + 2 * s).clamp(min=1e-12).sqrt()
    return torch.stack(((xx + s) / t, xy / t, (yy + s) / t), dim=1)
