"""Image files in and out: 8 and 16 bits, grey or RGB, alpha, orientation, colour profile and other metadata.

libvips decodes and encodes; nothing here interprets pixels beyond that.
"""

import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasr_fast.files import SUFFIXES, written_whole
from dasr_fast.memory import available_memory
from dasr_fast.metadata import (
    EXIF,
    JPEG_COMMENTS,
    PNG_TEXT,
    add_metadata,
    frames_of_png,
    is_lossless_webp,
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
    import pyvips  # Pictures in memory do without it.

    path = Path(path)
    name = os.fsencode(path).decode(errors="replace")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {name}.")
    with path.open("rb") as file:
        kind = _kind(file.read(12))
        if kind is None:
            raise ImageError(f"{name} is not a PNG, JPEG, WebP or TIFF image; no other format is read.")
        file.seek(0)
        content = file.read()
    if kind == "webp":
        _use_threads("read_image")
    try:
        # No other loader is asked: some take files that fill the memory, or that name further files.
        image = getattr(pyvips.Image, f"{kind}load_buffer")(content, fail_on="error", access="sequential")
        _check_pixels(name, image)
        metadata = _metadata(image)
        if image.interpretation not in ("srgb", "rgb", "rgb16", "b-w", "grey16"):
            image = image.colourspace("rgb16" if image.format == "ushort" else "srgb")
            metadata.pop("icc-profile-data", None)  # It was for the colours before.
        array = _upright(_decoded(image), _get(image, "orientation"))
    except pyvips.Error as error:
        raise ImageError(f"{name} is not a whole image: {_reason(error)}.") from None
    frames = frames_of_png(content) if kind == "png" else _get(image, "n-pages")
    if frames > 1:
        warnings.warn(f"{name} has {frames} frames or pages, and only the first is read.", ImageWarning, stacklevel=2)
    metadata |= {name: (pyvips.GValue.blob_type, value) for name, value in read_metadata(kind, content).items()}
    alpha = np.ascontiguousarray(array[:, :, -1]) if image.hasalpha() else None
    pixels = np.ascontiguousarray(array[:, :, : array.shape[2] - (alpha is not None)])
    return Picture(pixels, alpha, metadata, (image.xres, image.yres), kind == "webp" and is_lossless_webp(content))


def check_format(path: str | Path, picture: Picture) -> None:
    """Raise an ImageError if the format that `path` names isn't written, or can't hold a picture of that kind."""
    path = Path(path)
    if not isinstance(picture, Picture):
        raise TypeError(f"{path.name}: what is written must be a Picture; got {type(picture).__name__}.")
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path.name}: images are written as {', '.join(SUFFIXES)}.")
    if picture.alpha is not None and path.suffix.lower() in (".jpg", ".jpeg"):
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
    import pyvips

    path = Path(path)
    check_format(path, picture)
    _use_threads("write_image")
    suffix = path.suffix.lower()
    kind = _KINDS[suffix]
    pixels = picture.pixels if picture.alpha is None else np.dstack((picture.pixels, picture.alpha))
    image = pyvips.Image.new_from_array(pixels)
    colours = {(1, 1): "b-w", (3, 1): "srgb", (1, 2): "grey16", (3, 2): "rgb16"}
    interpretation = colours[picture.pixels.shape[2], picture.pixels.dtype.itemsize]
    image = image.copy(interpretation=interpretation, xres=picture.resolution[0], yres=picture.resolution[1])
    for name, (kind_of_value, value) in picture.metadata.items():
        image.set_type(kind_of_value, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # Over that of the EXIF data, which was applied.
    if kind == "webp" and picture.pixels.dtype == np.uint16:
        image = image.colourspace("srgb" if picture.pixels.shape[2] == 3 else "b-w")
    try:
        content = image.write_to_buffer(suffix, **_options(kind, picture.lossless, quality))
    except pyvips.Error as error:
        raise ImageError(f"{path} could not be written: {_reason(error)}.") from None
    own = {name: value for name, (_, value) in picture.metadata.items() if name in (EXIF, PNG_TEXT, JPEG_COMMENTS)}
    with written_whole(path) as temporary:
        temporary.write_bytes(add_metadata(kind, content, own))
    lost = [what for name, (what, kinds) in _HELD_BY.items() if name in picture.metadata and kind not in kinds]
    if lost:
        message = f"{path.name} can't hold the {' and the '.join(lost)} of the image it was made from."
        warnings.warn(message, ImageWarning, stacklevel=2)


_KINDS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".tif": "tiff", ".tiff": "tiff"}
_MARKS = {"png": (b"\x89PNG\r\n\x1a\n",), "jpeg": (b"\xff\xd8\xff",), "tiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")}
_KEPT = ("icc-profile-data", "xmp-data", "iptc-data", EXIF, "resolution-unit")
_HELD_BY = {
    "iptc-data": ("IPTC data", ("jpeg", "tiff")),
    PNG_TEXT: ("text", ("png",)),
    JPEG_COMMENTS: ("comments", ("jpeg",)),
}
"""Metadata that not all formats can hold, and those which can."""


def _options(kind: str, lossless: bool, quality: int | None) -> dict[str, Any]:
    """How libvips writes a format."""
    if kind == "webp" and lossless and quality is None:
        return {"lossless": True}
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


def _check_pixels(name: str, image: Any) -> None:
    """Raise an ImageError for pixels that aren't supported, or too many, before they are decoded."""
    if image.format not in ("uchar", "ushort"):
        raise ImageError(f"{name} has pixels of type {image.format}; only 8 and 16-bit integers are supported.")
    colours = image.bands - image.hasalpha()
    if colours not in ((4,) if image.interpretation == "cmyk" else (1, 3)):
        raise ImageError(f"{name} has {colours} colour channels; only grey and RGB are supported.")
    size, free = image.width * image.height * image.bands * np.dtype(_TYPES[image.format]).itemsize, available_memory()
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


def _get(image: Any, number: str) -> int:
    return image.get(number) if image.get_typeof(number) else 1


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "libvips gave no reason"
