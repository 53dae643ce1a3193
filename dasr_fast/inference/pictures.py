"""A picture super-resolved."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain, groupby, tee
from operator import itemgetter
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.images import Picture, Pixels
from dasr_fast.inference.attempts import Tile
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.noise import noise_level
from dasr_fast.inference.tiling import Span, overlapping_spans
from dasr_fast.models.bounds import departure

Representation = Literal["each", "first", "shot"]

REACH = 2
"""LR pixels that bicubic upsampling looks to either side."""

BORDER = 8
"""LR pixels by which a picture is continued on every side, so that the network's zeros beyond it do no harm."""

LEAST_ENCODED = 32
"""Height and width in LR pixels to which smaller pictures are continued for the encoder, which learned from patches."""

NOISE = 7.5
"""Grey levels of noise beyond those of the training from which on the user is told."""

FAR = 0.5
"""How far a result may lie outside of the picture's range of values, on average and as a part of that range."""

TRUSTED = 2.5
"""Departure from what the weights know (`models.bounds.departure`) beyond which bicubic upsampling is mixed in."""

FLAT = 16
"""Grey levels that count as the range of a picture that has fewer."""

CUT = 20.0
"""Grey levels by which the frames on both sides of a cut differ, on average over small copies of them."""


class _Unusable(RuntimeError):
    """What the network made of a picture isn't finite, or lies far outside of the picture's range of values."""


class PictureWarning(UserWarning):
    """A picture is of a kind that the weights don't know, and its result may be poor."""


def upscale(
    engine: Engine,
    picture: Picture,
    *,
    tile: Tile = "auto",
    v: Tensor | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Picture:
    """The picture enlarged by the model's scale: colours by the network, alpha by bicubic upsampling.

    Beyond its edges the network sees the picture's outermost pixels repeated, where a call of the engine has zeros. The
    farther a picture is from what the weights know, the more bicubic upsampling is mixed into its result; pictures like
    those of the training have none of it. Each piece of the result is rounded as it comes, so that only whole numbers
    are held of large pictures.

    Args:
        engine: Computes the colours.
        picture: Grey or RGB, 8 or 16 bits; the result is of the same kind.
        tile: See `Engine`.
        v: Embedding `[256]` or `[1, 256]`, such as another picture's; the picture's own if None.
        progress: Called after each tile with the share that is done, from 0 to 1.

    Warns:
        PictureWarning: The picture has more noise than the weights were trained with, or is unlike their training
            images in another way.

    Raises:
        RuntimeError: The network's result isn't finite or lies far outside of the picture's range of values, or there
            isn't enough memory.
    """
    far = 0.0
    if v is None:
        v, far, doubt = known(engine, picture, tile=tile)
        if doubt:
            warnings.warn(doubt, PictureWarning, stacklevel=2)
    return _upscaled(engine, picture, v, far, tile, progress)


def upscale_frames(
    engine: Engine, frames: Iterable[Picture], representation: Representation = "shot", *, tile: Tile = "auto"
) -> Iterator[Picture]:
    """Frames of a video or animation enlarged by `Engine.stream`, each as `upscale` enlarges a picture.

    Args:
        engine: Computes the colours.
        frames: Of one size.
        representation: "each" finds out the degradation of every frame, "first" that of the first alone, "shot" that of
            the first after each cut; the last two keep a video whose degradation doesn't change from flickering.
        tile: See `Engine`.

    Warns:
        PictureWarning: As `upscale`, of the first frame that gives reason to; and of frames that the weights can't
            restore, which are upsampled bicubically, so that a black one doesn't end a long video.

    Raises:
        RuntimeError: As `upscale`, but of what the network makes of a frame only at the first.
    """
    told, begun = False, False
    for _, numbered in groupby(by_shot(frames, representation), key=itemgetter(0)):
        shot = (frame for _, frame in numbered)
        first = next(shot)
        v, far, doubt = known(engine, first, tile=tile)
        if doubt and not told:
            warnings.warn(doubt, PictureWarning, stacklevel=2)
            told = True
        lr, streamed = tee(chain((first,), shot))
        padded = (_padded(frame)[0] for frame in streamed)
        for frame, sr in zip(lr, engine.stream(padded, representation=v[0], tile=tile), strict=True):
            try:
                yield _of_stream(engine, frame, sr[None], v, far, tile)
            except _Unusable:
                if not begun:
                    raise
                message = "The weights can't restore some frames, which were upsampled bicubically."
                warnings.warn(message, PictureWarning, stacklevel=2)
                yield _completed(engine, frame, bicubic(frame, engine.scale), 0.0)
            begun = True


def by_shot(frames: Iterable[Picture], representation: Representation) -> Iterator[tuple[int, Picture]]:
    """Frames with numbers from 0 on, which change where the degradation is to be found out."""
    number, before = 0, None
    for frame in frames:
        small = F.adaptive_avg_pool2d(frame.rgb(), 16)
        cut = before is not None and (small - before).abs().mean().item() > CUT
        number += before is not None and (representation == "each" or (representation == "shot" and cut))
        before = small
        yield number, frame


def known(engine: Engine, picture: Picture, *, tile: Tile = "auto") -> tuple[Tensor, float, str | None]:
    """A picture's embedding `[1, 256]`, its departure from what the weights know, and words of doubt, if there are."""
    v = embed(engine, picture, tile=tile)
    far = 0.0 if engine.bounds is None else departure(v, engine.bounds).max().item()
    return v, far, _doubt(engine, picture.rgb(), far)


def _of_stream(engine: Engine, frame: Picture, sr: Tensor, v: Tensor, far: float, tile: Tile) -> Picture:
    """A frame's result from what the network made of it with its border, computed again where that can't be used."""
    low, high = (limit.item() for limit in frame.rgb().aminmax())
    if not _outside(sr, low, high) / sr.numel() <= FAR * max(high - low, FLAT):  # NaN isn't.
        return _upscaled(engine, frame, v, far, tile, lambda share: None)
    inner = slice(BORDER * engine.scale, -BORDER * engine.scale)
    return _completed(engine, frame, frame.replaced(sr, None).pixels[inner, inner], far)


def _upscaled(
    engine: Engine, picture: Picture, v: Tensor, far: float, tile: Tile, progress: Callable[[float], None]
) -> Picture:
    pixels, problem = _restored(engine, picture, v, tile, progress)
    if problem and engine.bounds is not None:
        message = "It was restored with a mean representation, since its own gave values far outside of its range."
        warnings.warn(message, PictureWarning, stacklevel=3)
        pixels, problem = _restored(engine, picture, engine.bounds[1], tile, progress)
    if problem:
        raise _Unusable(problem)
    return _completed(engine, picture, pixels, far)


def _completed(engine: Engine, picture: Picture, pixels: Pixels, far: float) -> Picture:
    """The result with colours from the network, with bicubic upsampling mixed in if it is due, and alpha."""
    if far > TRUSTED:
        _mix(pixels, bicubic(picture, engine.scale), TRUSTED / far)
    alpha = None if picture.alpha is None else bicubic(Picture(picture.alpha[:, :, None]), engine.scale)[:, :, 0]
    return replace(picture, pixels=pixels, alpha=alpha)


def embed(engine: Engine, picture: Picture, *, tile: Tile = "auto") -> Tensor:
    """The embedding `[1, 256]` of a picture's degradation, on the engine's device."""
    return engine.encode(_continued(picture.rgb(), LEAST_ENCODED), tile=tile)


def _restored(
    engine: Engine, picture: Picture, v: Tensor, tile: Tile, progress: Callable[[float], None]
) -> tuple[Pixels, str | None]:
    """The picture's colours super-resolved with the embedding `v`, and what is wrong with them, if anything is."""
    lr, scale = picture.rgb(), engine.scale
    low, high = lr.min().item(), lr.max().item()
    padded = _padded(picture)
    height, width = (length * scale for length in padded.shape[2:])
    # Filled, since Linux counts memory as taken when it is written, and the engine is to fit into what is left.
    pixels = np.full((height, width, picture.pixels.shape[2]), 0, picture.pixels.dtype)
    outside, done = 0.0, 0
    for (_, _, rows, columns), sr in engine.pieces(padded, v, tile=tile):
        if not torch.isfinite(sr).all():
            return pixels, "The network's result holds NaN or infinity."
        if rows.start == columns.start == 0:  # A new attempt, after one that ran out of memory.
            outside, done = 0.0, 0
        outside += _outside(sr, low, high)
        pixels[rows, columns] = picture.replaced(sr, None).pixels
        done += sr.shape[2] * sr.shape[3]
        progress(done / (height * width))
    far = outside / (3 * height * width) > FAR * max(high - low, FLAT)
    inner = slice(BORDER * scale, -BORDER * scale)
    problem = "The network's result lies far outside of the picture's range of values: its weights can't restore it."
    return pixels[inner, inner], problem if far else None


def _outside(sr: Tensor, low: float, high: float) -> float:
    """How far values lie outside of a range, summed up."""
    return (sr - sr.clamp(low, high)).abs().double().sum().item()


def _mix(pixels: Pixels, upsampled: Pixels, share: float) -> None:
    """Leave only this share of the network's result, and fill up with another, row by row."""
    for row, other in zip(pixels, upsampled, strict=True):
        row[:] = (share * row.astype(np.float32) + (1 - share) * other).round()


def _padded(picture: Picture) -> Tensor:
    """Colours `[1, 3, H, W]` with the outermost pixels repeated on every side."""
    return F.pad(picture.rgb(), [BORDER] * 4, mode="replicate")


def _continued(lr: Tensor, least: int) -> Tensor:
    """`lr` `[1, 3, H, W]` with its outermost pixels repeated until it is at least so high and wide."""
    missing = [max(0, least - length) for length in (lr.shape[3], lr.shape[2])]
    return F.pad(lr, [part for n in missing for part in (n // 2, n - n // 2)], mode="replicate")


def _doubt(engine: Engine, lr: Tensor, far: float) -> str | None:
    """What of a picture the weights weren't trained with, if anything; `far` is the departure from their bounds."""
    if engine.noise is not None and (level := noise_level(lr)) > engine.noise + NOISE:
        known = f"with noise of up to {engine.noise:g}" if engine.noise else "without noise"
        message = f"it seems to have noise of {level:.0f} grey levels or more, and the weights were trained {known}."
    elif far > 1:
        message = "it is unlike the images that the weights were trained with."
    else:
        return None
    return f"The result may be poor: {message}"


def comparison(lr: Picture, sr: Picture, *, most: int = 1024) -> Picture:
    """A picture, its bicubic upsampling and its super-resolution side by side: first the picture's pixels, enlarged.

    Large pictures are shown by their centre, at most `most` SR pixels high and wide. Alpha is left out.

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
    upsampled = bicubic(part, scale)[shown]
    restored = sr.pixels[rows.place(scale), columns.place(scale)]
    return replace(sr, pixels=np.concatenate((enlarged, upsampled, restored), axis=1), alpha=None)


def bicubic(picture: Picture, scale: int) -> Pixels:
    """Pixels of the picture's colours upsampled bicubically, strip by strip; `REACH` makes that exact."""
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
