"""Images from files."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dasr_fast.images import apng
from dasr_fast.images.libvips import reason, use_threads
from dasr_fast.images.metadata import EXIF, frames_of_png, is_lossless_webp, is_whole_gif, read_metadata
from dasr_fast.images.picture import Frames, ImageError, ImageWarning, Picture, Pixels
from dasr_fast.memory import available_memory

_MARKS = {
    "png": (apng.SIGNATURE,),
    "jpeg": (b"\xff\xd8\xff",),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "gif": (b"GIF87a", b"GIF89a"),
}
_KEPT = ("icc-profile-data", "xmp-data", "iptc-data", EXIF, "resolution-unit")


def read_image(path: str | Path) -> Picture:
    """Read a PNG, JPEG, WebP or TIFF file, whatever its name, turned upright.

    Palettes become RGB, 1 to 4 bits 8, CMYK sRGB. Of several pages or frames the first is read, with an
    `ImageWarning`.

    Raises:
        FileNotFoundError: There is no such file.
        OSError: The system doesn't let it be read.
        ImageError: It isn't a whole image, not one of integers, or too large for the free memory.
        RuntimeError: It is a WebP file, and this process was forked from one that had read WebP or written images.
            All else may be read in forked processes.
    """
    return _read(path, every=False).pictures[0]


def read_frames(path: str | Path) -> Frames:
    """Read all frames or pages of a file as `read_image` reads one; GIF too.

    Frames come whole, also where the file holds only what changes. Of a TIFF file whose pages differ in size or kind
    the first is read, with an `ImageWarning`.

    Raises:
        As `read_image`.
    """
    return _read(path, every=True)


def _read(path: str | Path, *, every: bool) -> Frames:
    import pyvips  # Pictures in memory do without it.

    path = Path(path)
    name = os.fsencode(path).decode(errors="replace")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {name}.")
    with path.open("rb") as file:
        kind = _kind(file.read(12))
        if kind is None or (kind == "gif" and not every):
            formats = "PNG, JPEG, WebP, TIFF or GIF" if every else "PNG, JPEG, WebP or TIFF"
            raise ImageError(f"{name} is not a {formats} image; no other format is read.")
        file.seek(0)
        content = file.read()
    if kind == "webp":
        use_threads("read_image")
    if kind == "gif" and not is_whole_gif(content):
        raise ImageError(f"{name} is not a whole image: it ends early.")
    try:
        # No other loader is asked: some take files that fill the memory, or that name further files.
        image = _loaded(kind, content, every)
        count = frames_of_png(content) if kind == "png" else _get(image, "n-pages", 1)
        animated_png = every and kind == "png" and count > 1
        _check_pixels(name, image, count if animated_png else 1)
        metadata = _metadata(image)
        delays, plays = tuple(_get(image, "delay", ())), _get(image, "loop", 0)
        if animated_png:
            arrays, delays, plays = _frames_of_png(image, content)
        else:
            if image.interpretation not in ("srgb", "rgb", "rgb16", "b-w", "grey16"):
                image = image.colourspace("rgb16" if image.format == "ushort" else "srgb")
                metadata.pop("icc-profile-data", None)  # It was for the colours before.
            roll, height = _decoded(image), _get(image, "page-height", image.height) if every else image.height
            arrays = [roll[top : top + height] for top in range(0, len(roll), height)]
    except (pyvips.Error, apng.Damaged) as error:
        raise ImageError(f"{name} is not a whole image: {reason(error)}.") from None
    if count > len(arrays):
        warnings.warn(f"{name} has {count} frames or pages, and only the first is read.", ImageWarning, stacklevel=3)
    metadata |= {name: (pyvips.GValue.blob_type, value) for name, value in read_metadata(kind, content).items()}
    has_alpha = image.hasalpha() or animated_png
    if has_alpha and (animated_png or kind == "gif") and all(_is_opaque(array) for array in arrays):
        arrays, has_alpha = [array[..., :-1] for array in arrays], False  # Composing alone brought it.
    lossless = kind == "webp" and is_lossless_webp(content)
    pictures = []
    for array in arrays:
        array = _upright(array, _get(image, "orientation", 1))
        alpha = np.ascontiguousarray(array[:, :, -1]) if has_alpha else None
        pixels = np.ascontiguousarray(array[:, :, : array.shape[2] - (alpha is not None)])
        pictures.append(Picture(pixels, alpha, metadata, (image.xres, image.yres), lossless))
    return Frames(tuple(pictures), delays if len(pictures) > 1 else (), plays)


def _kind(begin: bytes) -> str | None:
    """The format of a file that begins like this, by which its loader in libvips is called."""
    if begin[:4] == b"RIFF" and begin[8:] == b"WEBP":
        return "webp"
    return next((kind for kind, marks in _MARKS.items() if begin.startswith(marks)), None)


def _loaded(kind: str, content: bytes, every: bool) -> Any:
    """The image by libvips, not decoded yet; with all its frames or pages below each other if they are alike."""
    import pyvips

    load, options = getattr(pyvips.Image, f"{kind}load_buffer"), {"fail_on": "error", "access": "sequential"}
    if every and kind in ("gif", "webp", "tiff"):
        try:
            return load(content, n=-1, **options)
        except pyvips.Error:
            if kind != "tiff":
                raise
    return load(content, **options)


def _frames_of_png(image: Any, content: bytes) -> tuple[list[Pixels], tuple[float, ...], int]:
    """An animated PNG's frames with alpha, times, and how often it plays; `image` is what libvips sees of it."""
    parts, plays = apng.parts(content)

    def decoded() -> Iterator[Pixels]:
        for part in parts:
            image = _loaded("png", part.png, every=False)
            yield _decoded(image if image.hasalpha() else image.addalpha())

    bands = image.bands + (not image.hasalpha())
    canvas = np.zeros((image.height, image.width, bands), _TYPES[image.format])
    return list(apng.composed(canvas, decoded(), parts)), tuple(part.delay for part in parts), plays


def _is_opaque(array: Pixels) -> bool:
    return bool(array[..., -1].min() == np.iinfo(array.dtype).max)


def _check_pixels(name: str, image: Any, frames: int) -> None:
    """Raise an ImageError for pixels that aren't supported, or too many, before they are decoded."""
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"{name} has pixels of type {image.format}; only 8 and 16-bit integers are supported.")
    colours = image.bands - image.hasalpha()
    if colours not in ((4,) if image.interpretation == "cmyk" else (1, 3)):
        raise ImageError(f"{name} has {colours} colour channels; only grey and RGB are supported.")
    size = frames * image.width * image.height * image.bands * np.dtype(_TYPES[image.format]).itemsize
    free = available_memory()
    if free is not None and 2 * size > free:  # With a decoder that holds the image too.
        raise ImageError(
            f"{name} has {image.width}x{image.height} pixels, and {2 * size / 1e9:.1f} GB of memory are needed; "
            f"{free / 1e9:.1f} GB are free."
        )


_TYPES = {"uchar": np.uint8, "ushort": np.uint16}


def _decoded(image: Any) -> Pixels:
    """The pixels, `[H, W, bands]`, decoded in this thread: those of libvips don't survive a fork, and aren't faster."""
    import pyvips

    array = np.empty((image.height, image.width, image.bands), _TYPES[image.format])
    region = pyvips.Region.new(image)
    for top in range(0, image.height, _ROWS):
        strip = array[top : top + _ROWS]
        strip[:] = np.frombuffer(region.fetch(0, top, image.width, len(strip)), array.dtype).reshape(strip.shape)
    return array


_ROWS = 64


def _upright(array: Pixels, orientation: int) -> Pixels:
    """The pixels turned as the EXIF orientation, 1 to 8, says."""
    if orientation > 4:
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array


def _metadata(image: Any) -> dict[str, tuple[Any, Any]]:
    names = [name for name in image.get_fields() if name in _KEPT or name.startswith("exif-ifd")]
    return {name: (image.get_typeof(name), image.get(name)) for name in names}


def _get(image: Any, name: str, otherwise: Any) -> Any:
    return image.get(name) if image.get_typeof(name) else otherwise
