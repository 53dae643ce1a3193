"""A model run within the memory that there is: its budget, and what is tried after a failure."""

import math
import warnings
from collections.abc import Callable, Iterator
from typing import Literal, TypeVar

import torch
from torch import Tensor

from dasr_fast.inference import tiling
from dasr_fast.inference.executor import Executor
from dasr_fast.inference.tiling import SMALLEST, Place, Window
from dasr_fast.memory import free_memory, is_out_of_memory
from dasr_fast.models import BlindSR
from dasr_fast.precision import PRECISIONS, Precision

Tile = int | Literal["auto"]
T = TypeVar("T")

UNASKED = 2**18
"""LR pixels up to which nobody asks how much memory a GPU has free: with 64 channels they take 0.6 GB."""

LEAST = 2**14
"""LR pixels computed at once however little memory seems free: they take 35 MB. A CPU isn't asked for fewer."""

MOST = 2**24
"""LR pixels computed at once at most: kernels count the numbers of 64 features of so many pixels in 32 bits."""

FEATURES = 6
"""Maps of features that are alive at once, at most; 5.5 were measured on a CPU."""

CPU_BYTES = 2 * 2**30
"""Memory for features on a CPU at most; larger tiles are no faster there."""


class Attempts:
    """Computes images in windows for which there is memory, until an attempt succeeds.

    If memory runs out, the next attempt has what CUDA graphs held, then smaller tiles. If a result overflows in fp16,
    the next attempt is in fp32. A warning says which.

    Args:
        model: Its weights are copied.
        precision: Of the first attempt.
        backend: See `dasr_fast.ops`.
    """

    def __init__(self, model: BlindSR, precision: Precision, backend: str) -> None:
        self._executor = Executor(model, precision, backend)
        self._wide = Executor(model, PRECISIONS["fp32"], backend) if precision.dtype == torch.float16 else None
        weight = next(model.G.head.parameters())
        self._device, self._channels, self._scale = weight.device, len(weight), model.scale
        self._most = MOST

    def encode(self, images: Tensor, tile: Tile) -> Tensor:
        """Embeddings `[B, 256]`, float32 on the model's device, of LR images `[B, 3, H, W]` of any type and device."""

        def run(executor: Executor, window: Window) -> Iterator[Tensor]:
            yield _finite(executor, tiling.encode(executor, images, window, self._device))

        return list(self._until_done(images, tile, run))[-1]

    def restore(
        self, images: Tensor, v: Tensor | None, tile: Tile, *, checked: bool = True
    ) -> Iterator[tuple[Place, Tensor]]:
        """SR of the images piece by piece, with the embeddings `v` or, if None, their own.

        A new attempt begins with the first piece again. Without `checked`, overflow goes unnoticed and no piece waits
        for the device.
        """

        def run(executor: Executor, window: Window) -> Iterator[tuple[Place, Tensor]]:
            own = tiling.encode(executor, images, window, self._device) if v is None else v
            for place, sr in tiling.restore(executor, images, own, window, self._scale):
                yield place, _finite(executor, sr) if checked else sr

        return self._until_done(images, tile, run)

    def _until_done(self, images: Tensor, tile: Tile, run: Callable[[Executor, Window], Iterator[T]]) -> Iterator[T]:
        executor, window = self._executor, self._window(self._executor, images, tile)
        released = False
        while True:
            try:
                yield from run(executor, window)
                return
            except _OverflowedError:
                assert self._wide is not None
                executor, window = self._wide, self._window(self._wide, images, tile)
                message = "a result overflowed in fp16 and is computed again in fp32"
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._release() and not released:
                    released = True
                    continue
                smaller = _smaller(window)
                if smaller is None:
                    raise RuntimeError(
                        f"Engine: there isn't enough memory on {self._device} for tiles of {SMALLEST} LR pixels."
                    ) from error
                window = smaller
                self._most = min(self._most, math.prod(window))  # For other images too.
                message = f"memory ran out, and tiles of {window.height} x {window.width} LR pixels are tried"
            warnings.warn(f"Engine: {message}.", RuntimeWarning, stacklevel=2)

    def _release(self) -> bool:
        """Give back what memory is kept for later calls; returns whether CUDA graphs held some."""
        held = [executor.release() for executor in (self._executor, self._wide) if executor is not None]
        return any(held)

    def _window(self, executor: Executor, images: Tensor, tile: Tile) -> Window:
        batch, _, height, width = images.shape
        pixels = self._most
        if batch * height * width > (LEAST if self._device.type == "cpu" else UNASKED):
            pixels = min(pixels, self._affordable(executor))
        return choose_window(batch, height, width, pixels, None if tile == "auto" else tile)

    def _affordable(self, executor: Executor) -> int:
        """LR pixels whose features fit into the free memory."""
        free = free_memory(self._device)
        if free is None:
            return UNASKED
        itemsize, outputs = executor.precision.dtype.itemsize, 3 * self._scale**2
        budget = int(0.8 * free)
        if self._device.type == "cpu":  # Some of its convolutions in 16 bits work in 32.
            budget, itemsize = min(free // 2, CPU_BYTES), 4
        per_pixel = itemsize * (FEATURES * self._channels + 2 * outputs) + 4 * outputs
        return max(LEAST, budget // per_pixel)


def choose_window(batch: int, height: int, width: int, pixels: int, tile: int | None) -> Window:
    """The window for `batch` LR images of `height` x `width` LR pixels, of which memory holds `pixels` at once.

    `tile` is the side of the tiles; 0 doesn't divide images, None divides those that have too many pixels.
    """
    if tile:
        height, width = min(tile, height), min(tile, width)
    elif tile is None and height * width > pixels:
        short = min(height, width, max(SMALLEST, math.isqrt(pixels)))
        long = max(SMALLEST, pixels // short)
        height, width = (short, min(long, width)) if height <= width else (min(long, height), short)
    return Window(max(1, min(batch, pixels // (height * width))), height, width)


def _smaller(window: Window) -> Window | None:
    """Half of its samples, or else of its longer side; None if that would be less than `SMALLEST`."""
    if window.samples > 1:
        return window._replace(samples=window.samples // 2)
    side = max(window.height, window.width)
    if side <= SMALLEST:
        return None
    half = max(SMALLEST, side // 2)
    return window._replace(height=half) if side == window.height else window._replace(width=half)


class _OverflowedError(ArithmeticError):
    """A result in fp16 isn't finite."""


def _finite(executor: Executor, x: Tensor) -> Tensor:
    """`x`, which must be finite if fp16 was used; images are too small for their sum to overflow in float32."""
    if executor.precision.dtype == torch.float16 and not x.sum().isfinite():
        raise _OverflowedError
    return x
