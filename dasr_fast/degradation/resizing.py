"""Resizing by any factor."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.degradation.description import Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, Range, on_device, together

MODES = ("area", "bilinear", "bicubic")


def resize(images: Tensor, size: Sequence[int], mode: str, *, antialias: bool = False) -> Tensor:
    """Resize along both axes, pixels at the border repeated outwards.

    "area" is the mean of all pixels that a new pixel overlaps. "bilinear" and "bicubic" are those of
    `torch.nn.functional.interpolate`: Keys' cubic with -0.75 or, antialiased, with -0.5, as MATLAB and Pillow have it.

    Args:
        images: `[..., C, h, w]`, floating point.
        size: Rows and columns of the result.
        mode: One of `MODES`.
        antialias: Whether bilinear and bicubic average over all pixels that a new one overlaps where they make images
            smaller.
    """
    if antialias and mode != "area":
        flat = images.flatten(0, -4)
        return F.interpolate(flat, list(size), mode=mode, antialias=True).view(*images.shape[:-2], *size)
    for length in size:  # Along rows, then columns: transposing is faster than gathering pixels of a row.
        index, weight = _taps(images.shape[-2], length, mode)
        index, weight = on_device(index, images.device), on_device(weight, images.device).to(images.dtype)
        total = images.index_select(-2, index[0]).mul_(weight[0][:, None])
        for i, w in zip(index[1:], weight[1:], strict=True):
            total.addcmul_(images.index_select(-2, i), w[:, None])
        images = total.mT.contiguous()
    return images


@lru_cache(256)
def _taps(length: int, size: int, mode: str) -> tuple[Tensor, Tensor]:
    """Which of `length` pixels each of `size` new ones takes, and how much of each: both `[taps, size]`."""
    new = torch.arange(size)
    if mode == "area":
        first, end = new * length // size, -((-(new + 1) * length) // size)
        taps = torch.arange(int((end - first).max()))[:, None]
        index = torch.minimum(first + taps, end - 1)
        return index, ((taps < end - first) / (end - first)).float()
    reach = 1 if mode == "bilinear" else 2
    centre = (new.double() + 0.5) * length / size - 0.5
    index = centre.floor().long() + torch.arange(1 - reach, 1 + reach)[:, None]
    distance = (centre - index).abs()
    weight = 1 - distance if mode == "bilinear" else _cubic(distance)
    return index.clamp(0, length - 1), weight.float()


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution (1981) with -0.75, at distances from 0 to 2."""
    near = (1.25 * x - 2.25) * x * x + 1
    far = -0.75 * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, far)


@dataclass(frozen=True)
class Resize(Part):
    """Resize to a size of each sample's own, by a method of `MODES`.

    Attributes:
        factors: Probabilities, and the range of the factor of each; a factor of 1 keeps the size.
        of_lr: Whether the factor is that to the LR size, not that to the present one.
        antialias: See `resize`.
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
    """Images of `size` `[B, 2]`, each by the method of `MODES` with its number in `mode` `[B]`, see `resize`."""
    lists: list[Any] = [size.tolist(), mode.tolist(), antialias.tolist()]
    wanted = [((height, width), MODES[number], smooth) for (height, width), number, smooth in zip(*lists, strict=True)]

    def all_alike(stacked: Tensor, numbers: list[int]) -> Tensor:
        new, name, smooth = wanted[numbers[0]]
        return resize(stacked, new, name, antialias=smooth)

    differ = torch.tensor([image.shape[-2:] != new for image, (new, *_) in zip(images, wanted, strict=True)])
    return together(images, all_alike, wanted, where=differ)
