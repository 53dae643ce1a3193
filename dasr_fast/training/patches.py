"""Random patches of training images: a function of the seed and the step, so that any run can go on anywhere."""

from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasr_fast.training.pixel_file import Pixels


class Images(Protocol):
    """Images as uint8 arrays `[H, W, 3]`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Pixels: ...


class Patches:
    """Batches of HR patches: `patches(step)` is the batch of that step, whatever was asked for before.

    Images are drawn epoch by epoch, each once, in an order of its own for every epoch. Each image drawn gets one
    augmentation of the eight (flips, transposition), then its patches are cut at offsets drawn evenly from all there
    are. Processes that share a batch draw together what one would alone: a step's images and patches are the same for
    any `world` if `batch * world` is.

    Args:
        images: An `ImageCache`, for instance; each at least `size` high and wide.
        size: Rows and columns of a patch.
        patches: Number cut from each image.
        batch: Images in the batch of this process.
        seed: Decides all draws, 0 to 2**64 - 1.
        rank: Number of this process.
        world: Number of processes.
        pin_memory: Whether batches are in pinned memory, from which copies to a GPU don't hold up the host.

    Raises:
        ValueError: An argument is out of range; the message names it.
    """

    def __init__(
        self,
        images: Images,
        *,
        size: int,
        patches: int = 2,
        batch: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        pin_memory: bool = False,
    ) -> None:
        if len(images) == 0:
            raise ValueError("Patches: images must hold at least one image; got none.")
        positive = {"size": size, "patches": patches, "batch": batch, "world": world}
        for name, value in positive.items():
            if value < 1:
                raise ValueError(f"Patches: {name} must be a whole number of at least 1; got {value!r}.")
        if not 0 <= rank < world:
            raise ValueError(f"Patches: rank must be from 0 to world - 1 = {world - 1}; got {rank!r}.")
        if not 0 <= seed < 2**64:
            raise ValueError(f"Patches: seed must be from 0 to 2**64 - 1; got {seed!r}.")
        self.images, self.size, self.patches, self.batch = images, size, patches, batch
        self.seed, self.rank, self.world, self.pin_memory = seed, rank, world, pin_memory
        self._order = lru_cache(2)(self._draw_order)

    def __call__(self, step: int) -> Tensor:
        """The batch of a step, from 0: uint8 `[batch, patches, 3, size, size]`.

        Raises:
            ValueError: An image is smaller than a patch.
        """
        shape = (self.batch, self.patches, 3, self.size, self.size)
        batch = torch.empty(shape, dtype=torch.uint8, device="cpu", pin_memory=self.pin_memory)
        for cut, sample, image in zip(batch.numpy(), self._samples(step), self.indices(step).tolist(), strict=True):
            self._cut(self.images[image], generator_of_cut(self.seed, sample), cut)
        return batch

    def inputs(self, step: int) -> tuple[Tensor, ...]:
        """What a training step takes: the batch of that step, and `indices`."""
        return self(step), self.indices(step)

    def indices(self, step: int) -> Tensor:
        """Which images the batch of a step is from: int64 `[batch]`."""
        places = (divmod(sample, len(self.images)) for sample in self._samples(step))
        return torch.tensor([int(self._order(epoch)[place]) for epoch, place in places])

    def _samples(self, step: int) -> range:
        """This process's part of the images of a step, counted from the first step on."""
        first = (step * self.world + self.rank) * self.batch
        return range(first, first + self.batch)

    def _draw_order(self, epoch: int) -> npt.NDArray[np.int64]:
        return _generator(self.seed, _ORDERS, epoch).permutation(len(self.images))

    def _cut(self, image: Pixels, random: np.random.Generator, cut: Pixels) -> None:
        """Fills `cut`, `[patches, 3, size, size]`."""
        height, width = image.shape[:2]
        if min(height, width) < self.size:
            raise ValueError(f"Patches: images must have {self.size}x{self.size} pixels or more; got {width}x{height}.")
        augmentation = int(random.integers(8))
        for patch in cut:
            top, left = random.integers(height - self.size + 1), random.integers(width - self.size + 1)
            patch[:] = augmented_window(image, (int(top), int(left)), self.size, augmentation)


def augmented_window(image: Pixels, place: tuple[int, int], size: int, augmentation: int) -> Pixels:
    """The square `[3, size, size]` of an image `[H, W, 3]` with its first row and column at `place`, augmented."""
    top, left = place
    window = image[top : top + size, left : left + size].transpose(2, 0, 1)
    # Transposing a dense copy is three times faster than the image's far apart rows.
    return augmented(np.ascontiguousarray(window), augmentation)


def augmented(image: Pixels, augmentation: int) -> Pixels:
    """A view of the image `[C, H, W]` by one of the eight flips and rotations.

    Bit 0 of `augmentation` flips columns, bit 1 rows, and bit 2 then transposes.
    """
    if augmentation & 1:
        image = image[:, :, ::-1]
    if augmentation & 2:
        image = image[:, ::-1]
    return image.transpose(0, 2, 1) if augmentation & 4 else image


_ORDERS, _CUTS = 0, 1  # Independent streams of random numbers.


def generator_of_cut(seed: int, sample: int) -> np.random.Generator:
    """Random numbers of the patches of one image, which is counted from the first step on."""
    return _generator(seed, _CUTS, sample)


def _generator(seed: int, stream: int, number: int) -> np.random.Generator:
    """Random numbers that depend on these three alone."""
    key, counter = np.array([seed, number], np.uint64), np.array([0, 0, 0, stream], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))
