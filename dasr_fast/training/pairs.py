"""Training with LR images that are given."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dasr_fast.pairs import pairs
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.patches import Patches, augmented_window, generator_of_cut
from dasr_fast.training.pixel_file import Pixels


class LRImages:
    """The LR images of HR images, in their order.

    Args:
        hr: The HR images.
        folder: Holds the LR images, of the same names.
        cache: See `ImageCache`.
        scale: Factor between them.

    Raises:
        FileNotFoundError, OSError: See `ImageCache`.
        ValueError: An HR image has no LR image, or one of another size.
    """

    def __init__(self, hr: ImageCache, folder: Path, cache: Path | None, scale: int) -> None:
        self.images = ImageCache.open(folder, cache, smallest=1)
        self._order = pairs(hr.names, self.images.names, scale)
        for i, number in enumerate(self._order):
            (height, width), found = hr.size(i), self.images.size(number)
            if found != (height // scale, width // scale):
                raise ValueError(
                    f"{folder / self.images.names[number]} has {found[1]}x{found[0]} pixels; {width // scale}x"
                    f"{height // scale} are needed for an HR image of {width}x{height} at scale {scale}."
                )

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Pixels:
        return self.images[self._order[index]]


class PairedPatches(Patches):
    """As `Patches`, with the LR patches of given LR images: a batch is `(hr, lr)`.

    Args:
        images: The HR images.
        lr: Their LR images, in the same order.
        scale: Factor between them.
        settings: Those of `Patches`; `size` is that of the HR patches.
    """

    def __init__(self, images: ImageCache, lr: LRImages, *, scale: int, **settings: Any) -> None:
        super().__init__(images, **settings)
        self.lr, self.scale = lr, scale

    def inputs(self, step: int) -> tuple[Tensor, ...]:
        """HR patches, `indices` and LR patches."""
        hr, lr = self(step)
        return hr, self.indices(step), lr

    def __call__(self, step: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The batch of a step: uint8 `[batch, patches, 3, size, size]`, and the same divided by the scale."""
        sides = (self.size, self.size // self.scale)
        hr, lr = (
            torch.empty(
                (self.batch, self.patches, 3, side, side), dtype=torch.uint8, device="cpu", pin_memory=self.pin_memory
            )
            for side in sides
        )
        for n, (sample, image) in enumerate(zip(self._samples(step), self.indices(step).tolist(), strict=True)):
            random, pictures = generator_of_cut(self.seed, sample), (self.images[image], self.lr[image])
            augmentation, (height, width) = int(random.integers(8)), pictures[1].shape[:2]
            for patch in range(self.patches):
                top, left = (int(random.integers(length - sides[1] + 1)) for length in (height, width))
                for picture, batch, factor in zip(pictures, (hr, lr), (self.scale, 1), strict=True):
                    place = top * factor, left * factor
                    batch[n, patch].numpy()[:] = augmented_window(picture, place, sides[1] * factor, augmentation)
        return hr, lr
