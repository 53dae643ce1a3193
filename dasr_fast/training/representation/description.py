"""Degradations in four numbers."""

import torch
from torch import Tensor

from dasr_fast.training.representation.learner import DegradationTarget

NUMBERS = 4
"""Numbers of a description."""

GREY_LEVELS = 6.25
"""Grey levels of noise that count as one pixel of blur: the paper has 4 pixels and 25 grey levels at most."""


def describe(target: DegradationTarget) -> Tensor:
    """Blur and noise `[B, 4]`: xx, xy and yy of the kernel's covariance's square root, and the noise level.

    The square root of the covariance is in pixels, as widths are, and has no jump where angles have one. Together
    these tell Gaussian kernels and noise completely; of other kernels they tell the extent alone.
    """
    kernels = target.kernels.float()
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    rows, columns = (torch.arange(size, dtype=torch.float32, device=kernels.device) for size in kernels.shape[1:])
    y = rows[:, None] - (kernels.sum(2) * rows).sum(1)[:, None, None]
    x = columns - (kernels.sum(1) * columns).sum(1)[:, None, None]
    xx, xy, yy = ((kernels * product).sum((1, 2)) for product in (x * x, x * y, y * y))
    # Cayley and Hamilton: the square root of M is (M + sqrt(det M)) / sqrt(tr M + 2 sqrt(det M)).
    s = (xx * yy - xy * xy).clamp(min=0).sqrt()
    t = (xx + yy + 2 * s).clamp(min=1e-12).sqrt()
    return torch.stack(((xx + s) / t, xy / t, (yy + s) / t, target.noise_levels.float() / GREY_LEVELS), dim=1)
