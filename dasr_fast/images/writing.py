"""Images to files."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dasr_fast.files import FRAME_SUFFIXES, written_whole
from dasr_fast.images import apng
from dasr_fast.images.libvips import reason, use_threads
from dasr_fast.images.metadata import EXIF, JPEG_COMMENTS, PNG_TEXT, add_metadata
from dasr_fast.images.picture import Frames, ImageError, ImageWarning, Picture, Pixels

_KINDS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
    ".gif": "gif",
}
_NAMES = {"png": "PNG", "jpeg": "JPEG", "webp": "WebP", "tiff": "TIFF", "gif": "GIF"}
_HELD_BY = {
    "iptc-data": ("IPTC data", ("jpeg", "tiff")),
    PNG_TEXT: ("text", ("png",)),
    JPEG_COMMENTS: ("comments", ("jpeg",)),
    "icc-profile-data": ("colour profile", ("png", "jpeg", "webp", "tiff")),
    EXIF: ("EXIF data", ("png", "jpeg", "webp", "tiff")),
    "xmp-data": ("XMP data", ("png", "jpeg", "webp", "tiff")),
}
"""Metadata that not all formats can hold, and those which can."""


def check_format(path: str | Path, picture: Picture | Frames) -> None:
    """Raise an ImageError if the format that `path` names isn't written, or can't hold what is to be written."""
    path = Path(path)
    frames = picture if isinstance(picture, Frames) else Frames((picture,))
    first, count, kind = frames.pictures[0], len(frames.pictures), _KINDS.get(path.suffix.lower())
    if not isinstance(first, Picture):
        raise TypeError(f"{path.name}: what is written must be a Picture; got {type(first).__name__}.")
    if kind is None:
        raise ImageError(f"{path.name}: images are written as {', '.join(FRAME_SUFFIXES)}.")
    if frames.delays and kind not in ("gif", "png", "webp"):
        raise ImageError(
            f"{path.name}: {_NAMES[kind]} can't hold an animation of {count} frames; choose .webp, .png or .gif."
        )
    if count > 1 and not frames.delays and kind != "tiff":
        raise ImageError(f"{path.name}: {_NAMES[kind]} can't hold the {count} pages; choose .tif.")
    if first.alpha is not None and kind == "jpeg":
        raise ImageError(f"{path.name}: JPEG can't hold transparency; choose .png, .webp or .tif.")


def resized(picture: Picture, width: int, height: int) -> Picture:
    """The picture reduced to another width and height in pixels, by libvips' Lanczos filter."""
    import pyvips

    def reduced(pixels: Pixels) -> Pixels:
        image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels))
        image = image.resize(width / pixels.shape[1], vscale=height / pixels.shape[0])
        return np.asarray(image.numpy()).reshape(height, width, -1)

    alpha = None if picture.alpha is None else reduced(picture.alpha[:, :, None])[:, :, 0]
    return replace(picture, pixels=reduced(picture.pixels), alpha=alpha)


def write_image(path: str | Path, picture: Picture, *, quality: int | None = None) -> None:
    """Write a picture whole or not at all; the ending of `path` names the format.

    JPEG and WebP are written in 8 bits, at the quality given or at 95; WebP of pictures that are `lossless` without
    loss, unless a quality is given. An `ImageWarning` names metadata that the format can't hold.

    Raises:
        FileNotFoundError: There is no such folder.
        OSError: The file can't be written; the message says why.
        TypeError: It isn't a `Picture`.
        ImageError: The format isn't supported, or can't hold the picture.
        RuntimeError: This process was forked from one that had read WebP or written images.
    """
    write_frames(path, Frames((picture,)), quality=quality)


def write_frames(path: str | Path, frames: Frames, *, quality: int | None = None) -> None:
    """Write an animation or pages as `write_image` writes a picture, and raise what it raises.

    GIF has 256 colours a frame, transparency without shades, and times of hundredths of a second. WebP merges equal
    frames that follow each other.
    """
    import pyvips

    path = Path(path)
    check_format(path, frames)
    use_threads("write_image")
    kind, first, several = _KINDS[path.suffix.lower()], frames.pictures[0], len(frames.pictures) > 1
    try:
        if kind == "png" and several:
            pngs = [_encoded((picture,), kind, quality) for picture in frames.pictures]
            content = apng.animated(pngs, frames.delays, frames.plays)
        else:
            content = _encoded(frames.pictures, kind, quality, frames.delays, frames.plays)
    except pyvips.Error as error:
        raise ImageError(f"{path} could not be written: {reason(error)}.") from None
    own = {name: value for name, (_, value) in first.metadata.items() if name in (EXIF, PNG_TEXT, JPEG_COMMENTS)}
    with written_whole(path) as temporary:
        temporary.write_bytes(add_metadata(kind, content, own))
    lost = [what for name, (what, kinds) in _HELD_BY.items() if name in first.metadata and kind not in kinds]
    if lost:
        message = f"{path.name} can't hold the {' and the '.join(lost)} of the image it was made from."
        warnings.warn(message, ImageWarning, stacklevel=2)


def _encoded(
    pictures: tuple[Picture, ...], kind: str, quality: int | None, delays: tuple[float, ...] = (), plays: int = 0
) -> bytes:
    """The content of a file, without the metadata that libvips doesn't write."""
    import pyvips

    first = pictures[0]
    pixels = np.concatenate([p.pixels if p.alpha is None else np.dstack((p.pixels, p.alpha)) for p in pictures])
    image = pyvips.Image.new_from_array(pixels)
    colours = {(1, 1): "b-w", (3, 1): "srgb", (1, 2): "grey16", (3, 2): "rgb16"}
    interpretation = colours[first.pixels.shape[2], first.pixels.dtype.itemsize]
    image = image.copy(interpretation=interpretation, xres=first.resolution[0], yres=first.resolution[1])
    for name, (kind_of_value, value) in first.metadata.items():
        image.set_type(kind_of_value, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # Over that of the EXIF data, which was applied.
    if len(pictures) > 1:
        image.set_type(pyvips.GValue.gint_type, "page-height", len(first.pixels))
    if delays:
        unit = 10 if kind == "gif" else 1
        ends = np.round(np.cumsum(delays) / unit) * unit  # So that rounding doesn't add up.
        image.set_type(pyvips.GValue.array_int_type, "delay", np.diff(ends, prepend=0).astype(int).tolist())
        image.set_type(pyvips.GValue.gint_type, "loop", plays)
    if kind in ("webp", "gif") and first.pixels.dtype == np.uint16:
        image = image.colourspace("srgb" if first.pixels.shape[2] == 3 else "b-w")
    return bytes(image.write_to_buffer(f".{kind}", **_options(kind, first.lossless, quality)))


def _options(kind: str, lossless: bool, quality: int | None) -> dict[str, Any]:
    """How libvips writes a format."""
    if kind == "webp" and lossless and quality is None:
        return {"lossless": True}
    if kind == "gif":
        return {"keep_duplicate_frames": True}
    return {"Q": quality or 95} if kind in ("jpeg", "webp") else {"compression": "deflate"} if kind == "tiff" else {}
