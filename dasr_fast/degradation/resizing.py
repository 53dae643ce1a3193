"""Resizing by any factor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.degradation.description import Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, Range, together
from dasr_fast.ops.resize import MODES


@dataclass(frozen=True)
class Resize(Part):
    """Resize to a size of each sample's own, by a method of `MODES`.

    Attributes:
        factors: Probabilities, and the range of the factor of each; a factor of 1 keeps the size.
        of_lr: Whether the factor is that to the LR size, not that to the present one.
        antialias: See `ops.resize`.
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
        smooth = torch.full((len(images),), self.antialias)
        return resized(images, drawn.numbers["size"], drawn.numbers["mode"], smooth)

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`."""
        return drawn.numbers["factor"].log2()[:, None] if self.quantities else super().describe(drawn)


def resized(images: Sequence[Tensor], size: Tensor, mode: Tensor, antialias: Tensor) -> list[Tensor]:
    """Images of `size` `[B, 2]`, each by the method of `MODES` with its number in `mode` `[B]`, see `ops.resize`."""
    lists: list[Any] = [size.tolist(), mode.tolist(), antialias.tolist()]
    wanted = [((height, width), MODES[number], smooth) for (height, width), number, smooth in zip(*lists, strict=True)]

    def all_alike(stacked: Tensor, numbers: list[int]) -> Tensor:
        new, name, smooth = wanted[numbers[0]]
        return ops.resize(stacked, new, name, antialias=smooth)

    differ = torch.tensor([image.shape[-2:] != new for image, (new, *_) in zip(images, wanted, strict=True)])
    return together(images, all_alike, wanted, where=differ)
