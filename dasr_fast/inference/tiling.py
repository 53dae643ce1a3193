"""Large images in tiles: the encoder exactly, the SR network with a context of `OVERLAP` pixels."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from dasr_fast.inference.executor import Executor

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


class Window(NamedTuple):
    """What is computed at once: so many samples, and at most so many LR pixels of each, overlap included."""

    samples: int
    height: int
    width: int


class Span(NamedTuple):
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


def encode(executor: Executor, lr: Tensor, window: Window, device: torch.device) -> Tensor:
    """Embeddings `[B, 256]` of LR images `[B, 3, H, W]` of any type, on the device; in tiles, and equal to the whole.

    A tile of the encoder starts at a multiple of its stride and brings all pixels that its features depend on.
    """
    parts = [lr[begin : begin + window.samples] for begin in range(0, max(1, len(lr)), window.samples)]
    if window.height >= lr.shape[2] and window.width >= lr.shape[3]:
        return torch.cat([executor.encode(_load(part, device)) for part in parts])
    return torch.cat([_encode_tiles(executor, part, window, device) for part in parts])


def restore(executor: Executor, lr: Tensor, v: Tensor, window: Window, scale: int) -> Iterator[tuple[Place, Tensor]]:
    """SR of LR images `[B, 3, H, W]` of any type, piece by piece, on the device of the embeddings `v` `[B, 256]`.

    Yields:
        Where a piece belongs in `[B, 3, H * scale, W * scale]`, and the piece.
    """
    height, width = lr.shape[2:]
    for begin in range(0, lr.shape[0], window.samples):
        samples = slice(begin, min(begin + window.samples, lr.shape[0]))
        for rows in overlapping_spans(height, window.height):
            for columns in overlapping_spans(width, window.width):
                place = (samples, slice(None), rows.place(scale), columns.place(scale))
                kept = (..., rows.kept(scale), columns.kept(scale))
                yield (
                    place,
                    executor.restore(_load(lr[samples, :, rows.cut(), columns.cut()], v.device), v[samples])[kept],
                )


def _encode_tiles(executor: Executor, lr: Tensor, window: Window, device: torch.device) -> Tensor:
    height, width = lr.shape[2:]
    sums = []
    for rows in _encoder_spans(height, window.height):
        for columns in _encoder_spans(width, window.width):
            features = executor.encode_features(_load(lr[:, :, rows.cut(), columns.cut()], device))
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


def _load(lr: Tensor, device: torch.device) -> Tensor:
    return lr.to(device).float()
