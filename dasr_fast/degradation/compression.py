"""JPEG compression."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.degradation.description import Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, of_samples, together
from dasr_fast.device import on_device

STRENGTH = 15.0
"""Steps of quality that count as one pixel of blur."""

BLOCK = 16
"""Rows and columns of luma that are coded with one block of subsampled chroma."""


@dataclass(frozen=True)
class Jpeg(Part):
    """Compress and decompress, as `ops.jpeg` does.

    Attributes:
        quality: Smallest and largest quality; whole numbers are drawn.
        probability: Of compression.
        subsampling: Probabilities of 4:4:4, 4:2:2 and 4:2:0.
        offset: Whether the blocks begin anywhere, as in a part of a photograph, and not in the image's corner.
    """

    quality: tuple[int, int] = (30, 95)
    probability: float = 1.0
    subsampling: Sequence[float] = (0.0, 0.0, 1.0)
    offset: bool = False

    quantities = (Quantity("quality_error", 1, STRENGTH),)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        compresses, quality = draws.happens(self.probability), draws.whole(*self.quality)
        numbers = {"compresses": compresses, "quality": quality, "subsampling": draws.choice(self.subsampling)}
        if self.offset:
            numbers |= {"above": draws.whole(0, BLOCK - 1), "left": draws.whole(0, BLOCK - 1)}
        return draws.parameters(numbers)

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        numbers = drawn.numbers

        def compress(stacked: Tensor, chosen: list[int]) -> Tensor:
            quality, subsampling, *offset = (
                on_device(of_samples(numbers[name], chosen), stacked.device)
                for name in ("quality", "subsampling", "above", "left")
                if name in numbers
            )
            if not offset:
                return compressed(stacked, quality, subsampling)
            height, width = stacked.shape[-2:]
            above, left = offset
            larger = _window(stacked, -above, -left, height + BLOCK, width + BLOCK)
            return _window(compressed(larger, quality, subsampling), above, left, height, width)

        return together(images, compress, where=numbers["compresses"])

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`: how far the quality is from 100."""
        strength = (100 - drawn.numbers["quality"]) * drawn.numbers["compresses"] / STRENGTH
        return strength[:, None].to(torch.float32)


def _window(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Windows of images `[B, N, C, H, W]` that begin at rows and columns `[B]`; the outermost pixels are repeated."""
    rows, columns = (
        (first[:, None] + torch.arange(count, device=images.device)).clamp(0, size - 1)
        for first, count, size in zip((top, left), (height, width), images.shape[-2:], strict=True)
    )
    samples = torch.arange(len(images), device=images.device)[:, None, None]
    return images[samples, :, :, rows[:, :, None], columns[:, None]].permute(0, 3, 4, 1, 2)


def compressed(images: Tensor, quality: Tensor, subsampling: int | Tensor = 2) -> Tensor:
    """`ops.jpeg` of images `[B, N, C, H, W]` or `[B, C, H, W]`; one channel counts as grey, others as grey each."""
    channels = images.shape[-3]
    if channels == 3:
        return ops.jpeg(images, quality, subsampling=subsampling)
    return torch.cat(
        [
            ops.jpeg(x.expand(*x.shape[:-3], 3, -1, -1), quality, subsampling=subsampling)[..., :1, :, :]
            for x in images.chunk(channels, -3)
        ],
        -3,
    )
