"""Gaussian and Poisson noise, in colour or grey."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasr_fast.degradation.description import GREY_LEVELS, Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, Range, normal_numbers

PHOTONS = 256
"""Mean count of a white pixel's Poisson noise of level 1."""

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue: ITU-R BT.601."""


@dataclass(frozen=True)
class Noise(Part):
    """Add noise, and clamp to 0 to 255.

    Poisson noise is that of `PHOTONS` counts of a white pixel, times its level. Grey noise is the same in all
    channels; if it is Poisson, it comes from the image's luma.

    Attributes:
        gaussian: Standard deviation of Gaussian noise in grey levels.
        poisson: Level of Poisson noise.
        poisson_probability: Of Poisson noise in place of Gaussian.
        grey: Probability of grey noise.
        probability: Of any noise.
    """

    gaussian: Range
    poisson: Range
    poisson_probability: float = 0.5
    grey: float = 0.4
    probability: float = 1.0

    quantities = (Quantity("noise_error_grey_levels", 2, GREY_LEVELS),)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        counts = draws.happens(self.poisson_probability)
        level = torch.where(counts, draws.uniform(*self.poisson), draws.uniform(*self.gaussian))
        grey, noisy = draws.happens(self.grey), draws.happens(self.probability)
        return draws.parameters(
            {"noisy": noisy, "poisson": counts, "level": level, "grey": grey, "seed": draws.seeds()}
        )

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        names = ("noisy", "poisson", "level", "grey", "seed")
        numbers = zip(*(drawn.numbers[name].tolist() for name in names), strict=True)
        return [
            _noisy(image, poisson, level, grey, seed, drawn.device) if noisy else image
            for image, (noisy, poisson, level, grey, seed) in zip(images, numbers, strict=True)
        ]

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`: the standard deviations in medium grey of colour noise, and of grey noise."""
        numbers = drawn.numbers
        grey_levels = torch.where(numbers["poisson"], numbers["level"] * 255 * (0.5 / PHOTONS) ** 0.5, numbers["level"])
        strength = grey_levels * numbers["noisy"] / GREY_LEVELS
        return torch.stack((strength * ~numbers["grey"], strength * numbers["grey"]), 1)


def _noisy(image: Tensor, poisson: bool, level: float, grey: bool, seed: int, device: torch.device) -> Tensor:
    shape = (image.shape[0], 1, *image.shape[2:]) if grey else image.shape
    noise = normal_numbers(shape, seed, device, image)
    if poisson:
        source = luma(image) if grey else image
        mean = source.round().clamp_(0, 255).mul_(PHOTONS / 255)
        noise = poisson_quantile(mean, noise).sub_(mean).mul_(255 / PHOTONS)
    return torch.add(image, noise, alpha=level).clamp_(0, 255)


def luma(image: Tensor) -> Tensor:
    """Luma `[N, 1, h, w]` of images `[N, 3, h, w]`; other images' mean over channels."""
    if image.shape[1] != 3:
        return image.mean(1, keepdim=True)
    red, green, blue = image.chunk(3, 1)
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
