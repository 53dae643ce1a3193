"""Animated PNG, which libvips doesn't know: its frames as PNG files of their own, and back."""

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from dasr_fast.images.metadata import chunks

Pixels = npt.NDArray[Any]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_BACKGROUND, _PREVIOUS = 1, 2  # What becomes of a frame's place after it.


class Damaged(ValueError):
    """An animated PNG isn't whole; the message says why."""


@dataclass(frozen=True)
class Part:
    """What a frame changes.

    Attributes:
        png: A whole PNG file.
        top, left: Where it goes.
        delay: Milliseconds until the next.
        dispose: 1 empties its place afterwards, 2 gives it what was there before, 0 leaves it.
        blend: Whether it is laid over what is there, by its alpha, instead of replacing it.
    """

    png: bytes
    top: int
    left: int
    delay: float
    dispose: int
    blend: bool


def parts(content: bytes) -> tuple[list[Part], int]:
    """The frames of an animated PNG, and how often it plays; 0 is forever.

    Raises:
        Damaged: It isn't whole.
    """
    header, shared, controls, plays, announced = b"", b"", list[tuple[bytes, list[bytes]]](), 0, 0
    for name, chunk in chunks(content):
        data = chunk[8:-4]
        if chunk != _chunk(name, data):
            raise Damaged("a checksum differs")
        if name == b"IHDR":
            header = data
        elif name == b"acTL":
            announced, plays = struct.unpack_from(">LL", data)
        elif name == b"fcTL":
            controls.append((data, []))
        elif name in (b"IDAT", b"fdAT") and controls:  # Pixels before are for those who don't know animations.
            controls[-1][1].append(data if name == b"IDAT" else data[4:])
        elif name in (b"PLTE", b"tRNS"):
            shared += chunk
    there = sum(bool(data) for _, data in controls)
    if there != announced:
        raise Damaged(f"of {announced} frames {there} are there")
    return [_part(control, data, header, shared) for control, data in controls], plays


def _part(control: bytes, data: list[bytes], header: bytes, shared: bytes) -> Part:
    width, height, left, top, count, whole, dispose, blend = struct.unpack(">4x4L2H2B", control)
    if left + width > int.from_bytes(header[:4], "big") or top + height > int.from_bytes(header[4:8], "big"):
        raise Damaged("a frame is larger than the animation")
    size = _chunk(b"IHDR", struct.pack(">LL", width, height) + header[8:])
    png = b"".join((SIGNATURE, size, shared, _chunk(b"IDAT", b"".join(data)), _chunk(b"IEND", b"")))
    return Part(png, top, left, 1000 * count / (whole or 100), dispose, bool(blend))


def composed(canvas: Pixels, decoded: Iterable[Pixels], parts: Iterable[Part]) -> Iterator[Pixels]:
    """Whole frames of an animation, from an empty one `[H, W, C]` and the pixels of its parts, whose last are alpha."""
    white = np.iinfo(canvas.dtype).max
    for pixels, part in zip(decoded, parts, strict=True):
        place = canvas[part.top : part.top + pixels.shape[0], part.left : part.left + pixels.shape[1]]
        before = place.copy()
        place[:] = _over(pixels, before, white) if part.blend else pixels
        yield canvas.copy()
        if part.dispose == _PREVIOUS:
            place[:] = before
        elif part.dispose == _BACKGROUND:
            place[:] = 0


def _over(pixels: Pixels, before: Pixels, white: int) -> Pixels:
    """Pixels laid over others by their alpha, which comes last."""
    over, under = pixels[..., -1:] / white, before[..., -1:] / white
    alpha = over + under * (1 - over)
    colours = (over * pixels + (1 - over) * under * before) / np.where(alpha > 0, alpha, 1)
    return np.concatenate((colours[..., :-1], alpha * white), -1).round().astype(pixels.dtype)


def animated(pngs: Sequence[bytes], delays: Sequence[float], plays: int) -> bytes:
    """An animated PNG of PNG files of one size and kind, the first of which has the metadata; arguments as above."""
    made, number = [SIGNATURE], 0
    for index, (png, delay) in enumerate(zip(pngs, delays, strict=True)):
        time = Fraction(delay / 1000).limit_denominator(1000)
        control = png[16:24] + struct.pack(">2L2H2B", 0, 0, min(time.numerator, 65535), time.denominator, 0, 0)
        began = False
        for name, chunk in chunks(png):
            if name == b"IDAT" and not began:
                if index == 0:
                    made.append(_chunk(b"acTL", struct.pack(">LL", len(pngs), plays)))
                made.append(_chunk(b"fcTL", struct.pack(">L", number) + control))
                number, began = number + 1, True
            if name == b"IDAT" and index > 0:
                made.append(_chunk(b"fdAT", struct.pack(">L", number) + chunk[8:-4]))
                number += 1
            elif index == 0 and name != b"IEND":
                made.append(chunk)
    return b"".join((*made, _chunk(b"IEND", b"")))


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">L", len(data)) + name + data + struct.pack(">L", zlib.crc32(name + data))
