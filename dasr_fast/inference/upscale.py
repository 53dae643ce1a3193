"""A picture super-resolved."""

from dataclasses import replace

import numpy as np
import torch

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.images import Picture, Pixels
from dasr_fast.inference.engine import Engine, Tile
from dasr_fast.inference.tiling import Span, overlapping_spans

REACH = 2
"""LR pixels that bicubic upsampling looks to either side."""


def upscale(engine: Engine, picture: Picture, *, tile: Tile = "auto") -> Picture:
    """The picture enlarged by the model's scale: colours by the network, alpha by bicubic upsampling.

    Each piece of the result is rounded as it comes, so that only whole numbers are held of large pictures.

    Args:
        engine: Computes the colours.
        picture: Grey or RGB, 8 or 16 bits; the result is of the same kind.
        tile: See `Engine`.

    Raises:
        RuntimeError: The network's result isn't finite, or there isn't enough memory.
    """
    height, width, channels = picture.pixels.shape
    # Filled, since Linux counts memory as taken when it is written, and the engine is to fit into what is left.
    pixels = np.full((height * engine.scale, width * engine.scale, channels), 0, picture.pixels.dtype)
    for (_, _, rows, columns), sr in engine.pieces(picture.rgb(), tile=tile):
        if not torch.isfinite(sr).all():
            raise RuntimeError("The network's result holds NaN or infinity.")
        pixels[rows, columns] = picture.replaced(sr, None).pixels
    alpha = None if picture.alpha is None else _bicubic(Picture(picture.alpha[:, :, None]), engine.scale)[:, :, 0]
    return replace(picture, pixels=pixels, alpha=alpha)


def comparison(lr: Picture, sr: Picture, *, most: int = 1024) -> Picture:
    """A picture, its bicubic upsampling and its super-resolution side by side: first the picture's pixels, enlarged.

    Of large pictures the centre is shown. Alpha is left out.

    Args:
        lr: The picture.
        sr: Super-resolved by a whole factor.
        most: Height and width in SR pixels up to which pictures are shown whole.
    """
    scale = sr.pixels.shape[0] // lr.pixels.shape[0]
    rows, columns = (_centre(length, most // scale) for length in lr.pixels.shape[:2])
    part = replace(lr, pixels=lr.pixels[rows.cut(), columns.cut()], alpha=None)
    shown = rows.kept(scale), columns.kept(scale)
    enlarged = part.pixels.repeat(scale, axis=0).repeat(scale, axis=1)[shown]
    bicubic = _bicubic(part, scale)[shown]
    restored = sr.pixels[rows.place(scale), columns.place(scale)]
    return replace(sr, pixels=np.concatenate((enlarged, bicubic, restored), axis=1), alpha=None)


def _bicubic(picture: Picture, scale: int) -> Pixels:
    """Pixels of the picture's colours upsampled, strip by strip; `REACH` makes that exact."""
    height, width, channels = picture.pixels.shape
    pixels = np.empty((height * scale, width * scale, channels), picture.pixels.dtype)
    for rows in overlapping_spans(height, 128, REACH):
        strip = replace(picture, pixels=picture.pixels[rows.cut()], alpha=None)
        upsampled = strip.replaced(bicubic_upsample(strip.tensor(), scale), None).pixels
        pixels[rows.place(scale)] = upsampled[rows.kept(scale)]
    return pixels


def _centre(length: int, most: int) -> Span:
    first = max(0, (length - most) // 2)
    last = min(length, first + most)
    return Span(max(0, first - REACH), min(length, last + REACH), first, last)
