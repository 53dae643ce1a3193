"""Gaussian and Poisson noise, in colour or grey."""

import torch
from torch import Tensor

from dasr_fast.reference.layout import accumulation_dtype, image_format

PHOTONS = 256
"""Mean count of a white pixel's Poisson noise of level 1."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue: ITU-R BT.601."""


def add_noise(image: Tensor, noise: Tensor, level: float, poisson: bool) -> Tensor:
    """Add noise, and clamp to 0 to 255.

    Args:
        image: `[B, N, C, H, W]` or `[B, C, H, W]`, floating point.
        noise: Standard normal numbers in the type of `image`: of its shape, or with one channel for grey noise.
        level: Factor of the noise.
        poisson: Whether it is the noise of `PHOTONS` counts of a white pixel, in grey levels, in place of the numbers
            themselves. Grey noise is that of the luma, or of the mean of other than three channels.

    Returns:
        Images in the shape and type of `image`.
    """
    wide = accumulation_dtype(image.dtype)
    y, noise = image.to(wide), noise.to(wide)
    if poisson:
        light = y.detach() if noise.shape[-3] == image.shape[-3] else luma(y.detach())
        mean = light.round().clamp_(0, 255).mul_(PHOTONS / 255)
        noise = poisson_quantile(mean, noise).sub_(mean).mul_(255 / PHOTONS)
    y = torch.add(y, noise, alpha=level).clamp_(0, 255)
    return y.to(image.dtype, memory_format=image_format(image))


def luma(image: Tensor) -> Tensor:
    """Luma `[..., 1, H, W]` of images `[..., 3, H, W]`; other images' mean over channels."""
    if image.shape[-3] != 3:
        return image.mean(-3, keepdim=True)
    red, green, blue = image.chunk(3, -3)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def poisson_quantile(mean: Tensor, normal: Tensor) -> Tensor:
    """Poisson counts of `mean` that lie where `normal` lies in its distribution.

    Counts made so depend on no sampler: the same normal numbers give the same counts on every device. It is the
    expansion of Cornish and Fisher (1938) to third order, with Sheppard's correction for rounding. Mean and variance
    are right to 3 % and from a mean of 5 on to 0.3 %.

    Args:
        mean: 0, or 1 and more; of any shape.
        normal: Standard normal numbers of the same shape.
    """
    root = mean.sqrt()
    square = normal * normal
    # z sqrt(m) + (z^2 - 1) / 6 + (z - z^3) / (72 sqrt(m)) - z / (24 sqrt(m)), rounded.
    count = (square + 2).div_(root.clamp(min=1)).mul_(-1 / 72).add_(root).mul_(normal)
    count.add_(square.sub_(1), alpha=1 / 6).add_(mean).add_(0.5)
    return count.floor_().clamp_(min=0).mul_(mean.sign())
