"""Image files in and out: 8 and 16 bits, grey or RGB, alpha, orientation, colour profile and other metadata.

libvips decodes and encodes; nothing here interprets pixels beyond that.
"""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasr_fast import apng
from dasr_fast.files import FRAME_SUFFIXES, written_whole
from dasr_fast.memory import available_memory
from dasr_fast.metadata import (
    EXIF,
    JPEG_COMMENTS,
    PNG_TEXT,
    add_metadata,
    frames_of_png,
    is_lossless_webp,
    is_whole_gif,
    read_metadata,
)

Pixels = npt.NDArray[Any]


class ImageError(ValueError):
    """A file isn't an image that can be read or written; the message says why."""


class ImageWarning(UserWarning):
    """Something of an image is left out when it is read or written; the message says what."""


@dataclass(frozen=True)
class Picture:
    """An image upright in memory.

    Attributes:
        pixels: `[H, W, C]`, uint8 or uint16, C 1 (grey) or 3 (RGB).
        alpha: `[H, W]` of the same type, or None.
        metadata: Type and value of the colour profile, EXIF and such, by libvips' names, for `write_image`.
        resolution: Pixels per millimetre, horizontally and vertically.
        lossless: Whether it was read from a file of a format that can lose something, and didn't.

    Raises:
        TypeError: Pixels or alpha aren't an array, or one of another type.
        ValueError: They have another shape, or no pixels.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    metadata: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    resolution: tuple[float, float] = (1.0, 1.0)
    lossless: bool = False

    def __post_init__(self) -> None:
        for name, array in (("pixels", self.pixels), ("alpha", self.alpha)):
            if not isinstance(array, np.ndarray) and (name == "pixels" or array is not None):
                raise TypeError(f"Picture: {name} must be a NumPy array; got {type(array).__name__}.")
        if self.pixels.dtype not in (np.uint8, np.uint16):
            raise TypeError(f"Picture: pixels must be uint8 or uint16; got {self.pixels.dtype}.")
        if self.pixels.ndim != 3 or self.pixels.shape[2] not in (1, 3) or self.pixels.size == 0:
            raise ValueError(f"Picture: pixels must be [H, W, C] with C 1 or 3; got {list(self.pixels.shape)}.")
        if self.alpha is None:
            return
        if self.alpha.dtype != self.pixels.dtype:
            raise TypeError(f"Picture: alpha must be {self.pixels.dtype} as pixels are; got {self.alpha.dtype}.")
        if self.alpha.shape != self.pixels.shape[:2]:
            raise ValueError(
                f"Picture: alpha must be [H, W] = {list(self.pixels.shape[:2])}; got {list(self.alpha.shape)}."
            )

    def tensor(self) -> Tensor:
        """Pixels as a float32 tensor `[1, C, H, W]` in 0 to 255 (16-bit ones with fractions)."""
        return self._tensor(self.pixels)

    def rgb(self) -> Tensor:
        """As `tensor`, with grey in all three channels: `[1, 3, H, W]`."""
        return self.tensor().expand(-1, 3, -1, -1)

    def alpha_plane(self) -> Tensor | None:
        """Alpha as a float32 tensor `[1, 1, H, W]` in 0 to 255, or None."""
        return None if self.alpha is None else self._tensor(self.alpha[:, :, None])

    def replaced(self, image: Tensor, alpha: Tensor | None) -> "Picture":
        """A picture of the same kind (grey or RGB, 8 or 16 bits, metadata) with other contents.

        Args:
            image: `[1, C, H, W]` in 0 to 255; for a grey picture the mean of the channels is taken.
            alpha: `[1, 1, H, W]` in 0 to 255, or None.

        Raises:
            TypeError: One isn't a tensor of floating-point numbers.
            ValueError: One has another shape.
        """
        for name, tensor, channels in (("image", image, (1, 3)), ("alpha", alpha, (1,))):
            if name == "alpha" and tensor is None:
                continue
            if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
                raise TypeError(f"replaced: {name} must be a tensor of floating-point numbers.")
            if tensor.dim() != 4 or tensor.shape[0] != 1 or tensor.shape[1] not in channels or 0 in tensor.shape:
                raise ValueError(
                    f"replaced: {name} must be [1, C, H, W] with C in {channels}; got {list(tensor.shape)}."
                )
        if self.pixels.shape[2] == 1:
            image = image.mean(1, keepdim=True)
        planes = self._array(image), None if alpha is None else self._array(alpha)[:, :, 0]
        return Picture(*planes, self.metadata, self.resolution, self.lossless)

    def _tensor(self, pixels: Pixels) -> Tensor:
        tensor = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        return tensor / 257 if pixels.dtype == np.uint16 else tensor

    def _array(self, image: Tensor) -> Pixels:
        depth = self.pixels.dtype
        image = image * 257 if depth == np.uint16 else image
        limit = 65535 if depth == np.uint16 else 255
        return image[0].permute(1, 2, 0).round().clamp(0, limit).cpu().numpy().astype(depth)


@dataclass(frozen=True)
class Frames:
    """All pictures of a file: the frames of an animation, the pages of a TIFF file, or the one of another image.

    Attributes:
        pictures: Of one size and kind; the metadata is that of the first.
        delays: Milliseconds that each is shown; empty if they are no animation.
        plays: How often the animation plays; 0 is forever.
    """

    pictures: tuple[Picture, ...]
    delays: tuple[float, ...] = ()
    plays: int = 0


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
        _use_threads("read_image")
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
        raise ImageError(f"{name} is not a whole image: {_reason(error)}.") from None
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
    _use_threads("write_image")
    kind, first, several = _KINDS[path.suffix.lower()], frames.pictures[0], len(frames.pictures) > 1
    try:
        if kind == "png" and several:
            pngs = [_encoded((picture,), kind, quality) for picture in frames.pictures]
            content = apng.animated(pngs, frames.delays, frames.plays)
        else:
            content = _encoded(frames.pictures, kind, quality, frames.delays, frames.plays)
    except pyvips.Error as error:
        raise ImageError(f"{path} could not be written: {_reason(error)}.") from None
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
_MARKS = {
    "png": (apng.SIGNATURE,),
    "jpeg": (b"\xff\xd8\xff",),
    "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "gif": (b"GIF87a", b"GIF89a"),
}
_KEPT = ("icc-profile-data", "xmp-data", "iptc-data", EXIF, "resolution-unit")
_HELD_BY = {
    "iptc-data": ("IPTC data", ("jpeg", "tiff")),
    PNG_TEXT: ("text", ("png",)),
    JPEG_COMMENTS: ("comments", ("jpeg",)),
    "icc-profile-data": ("colour profile", ("png", "jpeg", "webp", "tiff")),
    EXIF: ("EXIF data", ("png", "jpeg", "webp", "tiff")),
    "xmp-data": ("XMP data", ("png", "jpeg", "webp", "tiff")),
}
"""Metadata that not all formats can hold, and those which can."""


def _options(kind: str, lossless: bool, quality: int | None) -> dict[str, Any]:
    """How libvips writes a format."""
    if kind == "webp" and lossless and quality is None:
        return {"lossless": True}
    if kind == "gif":
        return {"keep_duplicate_frames": True}
    return {"Q": quality or 95} if kind in ("jpeg", "webp") else {"compression": "deflate"} if kind == "tiff" else {}


_owner: int | None = None  # The process that has libvips' threads.


def _use_threads(name: str) -> None:
    """Raise a RuntimeError in a process that was forked after libvips had started threads: it would wait for them."""
    global _owner
    if _owner not in (None, os.getpid()):
        raise RuntimeError(
            f"{name}: this process was forked from one that had read WebP or written images, and libvips would hang in "
            "it; start processes with the method spawn."
        )
    _owner = os.getpid()


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


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "libvips gave no reason"
