"""JPEG compression."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
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
    """Compress and decompress, as `ops.jpeg` does, with blocks that begin anywhere, as in a part of a photograph.

    Networks that are trained with blocks from a patch's corner on learn where they are from the patch's border.

    Attributes:
        quality: Smallest and largest quality; whole numbers are drawn.
        probability: Of compression.
        subsampling: Probabilities of 4:4:4, 4:2:2 and 4:2:0.
    """

    quality: tuple[int, int] = (30, 95)
    probability: float = 1.0
    subsampling: Sequence[float] = (0.0, 0.0, 1.0)

    quantities = (Quantity("quality_error", 1, STRENGTH),)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        compresses, quality = draws.happens(self.probability), draws.whole(*self.quality)
        numbers = {"compresses": compresses, "quality": quality, "subsampling": draws.choice(self.subsampling)}
        begin = {"above": draws.whole(0, BLOCK - 1), "left": draws.whole(0, BLOCK - 1)}
        return draws.parameters(numbers | begin)

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        numbers = drawn.numbers
        begin = list(zip(numbers["above"].tolist(), numbers["left"].tolist(), strict=True))

        def compress(stacked: Tensor, chosen: list[int]) -> list[Tensor]:
            quality, subsampling = (
                on_device(of_samples(numbers[name], chosen), stacked.device) for name in ("quality", "subsampling")
            )
            (height, width), places = stacked.shape[-2:], [begin[number] for number in chosen]
            larger = [
                F.pad(image, (left, BLOCK - left, above, BLOCK - above), mode="replicate")
                for image, (above, left) in zip(stacked, places, strict=True)
            ]
            results = compressed(larger[0][None] if len(larger) == 1 else torch.stack(larger), quality, subsampling)
            return [
                result[..., above : above + height, left : left + width]
                for result, (above, left) in zip(results, places, strict=True)
            ]

        return together(images, compress, where=numbers["compresses"])

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`: how far the quality is from 100."""
        strength = (100 - drawn.numbers["quality"]) * drawn.numbers["compresses"] / STRENGTH
        return strength[:, None].to(torch.float32)


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
