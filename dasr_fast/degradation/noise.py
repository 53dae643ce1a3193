"""Gaussian and Poisson noise, in colour or grey."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.degradation.description import GREY_LEVELS, Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, Range, normal_numbers
from dasr_fast.reference.add_noise import PHOTONS


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
        results = list(images)
        for i, (noisy, poisson, level, grey, seed) in enumerate(numbers):
            if noisy:
                image = images[i]
                shape = (image.shape[0], 1 if grey else image.shape[1], *image.shape[2:])
                results[i] = ops.add_noise(image, normal_numbers(shape, seed, drawn.device, image), level, poisson)
        return results

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`: the standard deviations in medium grey of colour noise, and of grey noise."""
        numbers = drawn.numbers
        grey_levels = torch.where(numbers["poisson"], numbers["level"] * 255 * (0.5 / PHOTONS) ** 0.5, numbers["level"])
        strength = grey_levels * numbers["noisy"] / GREY_LEVELS
        return torch.stack((strength * ~numbers["grey"], strength * numbers["grey"]), 1)
