"""Large images in tiles: the encoder exactly, the SR network with a context of `OVERLAP` pixels."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

OVERLAP = 24
"""LR pixels of context at each side of a tile of the SR network, whose results are discarded.

The network reaches 200 pixels and more, but hardly. Largest difference to the image as a whole, in grey levels, at 8,
16 and 24 pixels: 0.25, 0.0002 (rounding) and 0.0002 with the weights of the tests' fixtures; 37, 1.4 and 0.01 with all
3x3 convolutions made averages, which reach furthest.
"""

SMALLEST = 64
"""Least side of a tile in LR pixels."""

_STRIDE = 4
_HALO = 12
"""The encoder's stride, and its reach of 11 LR pixels to the left and 7 to the right, in whole strides."""


Place = tuple[slice, slice, slice, slice]
"""Where a piece belongs in `[B, 3, H, W]`."""


class Network(Protocol):
    """What is run in tiles."""

    def encode(self, lr: Tensor) -> Tensor:
        """Embeddings `[B, 256]` of LR images `[B, 3, H, W]`."""

    def encode_features(self, lr: Tensor) -> Tensor:
        """The encoder's features `[B, 256, ceil(H / 4), ceil(W / 4)]`, whose mean is the embedding."""

    def restore(self, lr: Tensor, v: Tensor) -> Tensor:
        """SR images for LR images and embeddings."""


@dataclass(frozen=True)
class Window:
    """What is computed at once: so many samples, and at most so many LR pixels of each, overlap included."""

    samples: int
    height: int
    width: int

    def covers(self, lr: Tensor) -> bool:
        """Whether `lr` `[B, 3, H, W]` fits in as a whole."""
        return self.samples >= lr.shape[0] and self.covers_image(lr)

    def covers_image(self, lr: Tensor) -> bool:
        """Whether each image of `lr` `[B, 3, H, W]` fits in as a whole."""
        return self.height >= lr.shape[2] and self.width >= lr.shape[3]

    def smaller(self) -> "Window | None":
        """Half of it: of its samples, or else of its longer side; None if that would be less than `SMALLEST`."""
        if self.samples > 1:
            return replace(self, samples=self.samples // 2)
        side = max(self.height, self.width)
        if side <= SMALLEST:
            return None
        half = max(SMALLEST, side // 2)
        return replace(self, height=half) if side == self.height else replace(self, width=half)


def choose_window(batch: int, height: int, width: int, pixels: int, tile: int | None) -> Window:
    """The window for `batch` LR images of `height` x `width`.

    Args:
        batch: Number of images.
        height: Of each, in LR pixels.
        width: Of each, in LR pixels.
        pixels: LR pixels for which there is memory.
        tile: Side of the tiles; 0 doesn't divide images, None divides those that have too many pixels.
    """
    if tile:
        height, width = min(tile, height), min(tile, width)
    elif tile is None and height * width > pixels:
        short = min(height, width, max(SMALLEST, math.isqrt(pixels)))
        long = max(SMALLEST, pixels // short)
        height, width = (short, min(long, width)) if height <= width else (min(long, height), short)
    return Window(max(1, min(batch, pixels // (height * width))), height, width)


@dataclass(frozen=True)
class Span:
    """A part `start` to `stop` of an image's rows or columns, of which the results for `first` to `last` are kept."""

    start: int
    stop: int
    first: int
    last: int

    def cut(self) -> slice:
        """The part of the image."""
        return slice(self.start, self.stop)

    def kept(self, scale: int) -> slice:
        """Within the part's result, `scale` times as large, what is kept."""
        return slice((self.first - self.start) * scale, (self.last - self.start) * scale)

    def place(self, scale: int) -> slice:
        """Where that belongs in the whole result."""
        return slice(self.first * scale, self.last * scale)


def overlapping_spans(length: int, size: int, overlap: int = OVERLAP) -> list[Span]:
    """Spans of one size, at most `size`, that cover `length`.

    Each keeps what is at least `overlap` away from its ends, and up to the image's ends.
    """
    if size >= length:
        return [Span(0, length, 0, length)]
    count = math.ceil((length - 2 * overlap) / (size - 2 * overlap))
    size = math.ceil((length - 2 * overlap) / count) + 2 * overlap
    starts = [i * (length - size) // (count - 1) for i in range(count)]
    cuts = [(later + start + size) // 2 for start, later in pairwise(starts)]
    return [
        Span(start, start + size, first, last)
        for start, first, last in zip(starts, [0, *cuts], [*cuts, length], strict=True)
    ]


def encode(network: Network, lr: Tensor, window: Window, device: torch.device) -> Tensor:
    """Embeddings `[B, 256]` of LR images `[B, 3, H, W]` of any type, on the device; in tiles, and equal to the whole.

    A tile of the encoder starts at a multiple of its stride and brings all pixels that its features depend on.
    """
    if window.covers_image(lr):
        return torch.cat([network.encode(_load(part, device)) for part in _batches(lr, window)])
    return torch.cat([_encode_tiles(network, part, window, device) for part in _batches(lr, window)])


def restore(network: Network, lr: Tensor, v: Tensor, window: Window, scale: int) -> Iterator[tuple[Place, Tensor]]:
    """SR of LR images `[B, 3, H, W]` of any type, piece by piece, on the device of the embeddings `v` `[B, 256]`.

    Yields:
        Where a piece belongs in `[B, 3, H * scale, W * scale]`, and the piece.
    """
    height, width = lr.shape[2:]
    for begin in range(0, lr.shape[0], window.samples):
        samples = slice(begin, min(begin + window.samples, lr.shape[0]))
        for rows in overlapping_spans(height, window.height):
            for columns in overlapping_spans(width, window.width):
                sr = network.restore(_load(lr[samples, :, rows.cut(), columns.cut()], v.device), v[samples])
                place = (samples, slice(None), rows.place(scale), columns.place(scale))
                yield place, sr[:, :, rows.kept(scale), columns.kept(scale)]


def _encode_tiles(network: Network, lr: Tensor, window: Window, device: torch.device) -> Tensor:
    height, width = lr.shape[2:]
    sums = []
    for rows in _encoder_spans(height, window.height):
        for columns in _encoder_spans(width, window.width):
            features = network.encode_features(_load(lr[:, :, rows.cut(), columns.cut()], device))
            kept = features[:, :, _in_features(rows), _in_features(columns)]
            sums.append(kept.sum((2, 3), dtype=torch.float64))
    count = math.ceil(height / _STRIDE) * math.ceil(width / _STRIDE)
    return (torch.stack(sums).sum(0) / count).float()


def _encoder_spans(length: int, size: int) -> list[Span]:
    if size >= length:
        return [Span(0, length, 0, length)]
    step = (size - 2 * _HALO) // _STRIDE * _STRIDE
    return [
        Span(max(0, first - _HALO), min(length, first + step + _HALO), first, min(length, first + step))
        for first in range(0, length, step)
    ]


def _in_features(span: Span) -> slice:
    kept = span.kept(1)
    return slice(kept.start // _STRIDE, math.ceil(kept.stop / _STRIDE))


def _batches(lr: Tensor, window: Window) -> list[Tensor]:
    return [lr[begin : begin + window.samples] for begin in range(0, max(1, len(lr)), window.samples)]


def _load(lr: Tensor, device: torch.device) -> Tensor:
    return lr.to(device).float()
