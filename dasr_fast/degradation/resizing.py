"""Resizing by any factor."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.degradation.description import Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, Range, together

MODES = ("area", "bilinear", "bicubic")


@dataclass(frozen=True)
class Resize(Part):
    """Resize to a size of each sample's own, by a method of `MODES`.

    Attributes:
        factors: Probabilities, and the range of the factor of each; a factor of 1 keeps the size.
        of_lr: Whether the factor is that to the LR size, not that to the present one.
        antialias: Whether bilinear and bicubic average over all pixels when they make an image smaller, not only over
            the 2 or 4 nearest ones along each axis.
        modes: Probabilities of the methods.
    """

    factors: Sequence[tuple[float, Range]] = ((1.0, (1.0, 1.0)),)
    of_lr: bool = False
    antialias: bool = False
    modes: Sequence[float] = (1 / 3, 1 / 3, 1 / 3)

    @property
    def quantities(self) -> tuple[Quantity, ...]:  # type: ignore[override]
        """None if the factor is always the same."""
        fixed = len(self.factors) == 1 and self.factors[0][1][0] == self.factors[0][1][1]
        return () if fixed else (Quantity("resize_error_octaves", 1),)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        ends = torch.tensor([ends for _, ends in self.factors])
        ends = ends[draws.choice([probability for probability, _ in self.factors])]
        factor = draws.uniform(ends[:, 0], ends[:, 1])
        start = torch.tensor(draws.hr).expand_as(draws.sizes) / draws.scale if self.of_lr else draws.sizes
        draws.sizes = (start * factor.double()[:, None]).long().clamp(min=1)
        return draws.parameters({"factor": factor, "mode": draws.choice(self.modes), "size": draws.sizes})

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        return resized(images, drawn.numbers["size"], drawn.numbers["mode"], antialias=self.antialias)

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`."""
        return drawn.numbers["factor"].log2()[:, None] if self.quantities else super().describe(drawn)


def resized(images: Sequence[Tensor], size: Tensor, mode: Tensor, *, antialias: bool) -> list[Tensor]:
    """Images of `size` `[B, 2]`, each by the method of `MODES` with its number in `mode` `[B]`."""
    sizes, methods = size.tolist(), mode.tolist()

    def resize(stacked: Tensor, numbers: list[int]) -> Tensor:
        new, method = sizes[numbers[0]], MODES[methods[numbers[0]]]
        flat = stacked.flatten(0, 1)
        smooth = antialias and method != "area"
        return F.interpolate(flat, new, mode=method, antialias=smooth).view(*stacked.shape[:-2], *new)

    differ = torch.tensor([list(image.shape[-2:]) != new for image, new in zip(images, sizes, strict=True)])
    return together(images, resize, list(zip(map(tuple, sizes), methods, strict=True)), where=differ)
