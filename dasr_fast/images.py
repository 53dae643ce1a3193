"""Image files in and out: 8 and 16 bits, grey or RGB, alpha, orientation, colour profile and other metadata.

libvips reads and writes; nothing here interprets pixels beyond that.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dasr_fast.files import SUFFIXES, written_whole

Pixels = npt.NDArray[Any]


class ImageError(ValueError):
    """A file isn't an image that can be read or written; the message says why."""


@dataclass(frozen=True)
class Picture:
    """An image upright in memory.

    Attributes:
        pixels: `[H, W, C]`, uint8 or uint16, C 1 (grey) or 3 (RGB).
        alpha: `[H, W]` of the same type, or None.
        metadata: Colour profile, EXIF and such, as libvips names them, for `write_image`.
        resolution: Pixels per millimetre, horizontally and vertically.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    metadata: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    resolution: tuple[float, float] = (1.0, 1.0)

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
        """
        if self.pixels.shape[2] == 1:
            image = image.mean(1, keepdim=True)
        planes = self._array(image), None if alpha is None else self._array(alpha)[:, :, 0]
        return Picture(*planes, self.metadata, self.resolution)

    def _tensor(self, pixels: Pixels) -> Tensor:
        tensor = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        return tensor / 257 if pixels.dtype == np.uint16 else tensor

    def _array(self, image: Tensor) -> Pixels:
        depth = self.pixels.dtype
        image = image * 257 if depth == np.uint16 else image
        limit = 65535 if depth == np.uint16 else 255
        return image[0].permute(1, 2, 0).round().clamp(0, limit).cpu().numpy().astype(depth)


def read_image(path: str | Path) -> Picture:
    """Read a PNG, JPEG, WebP or TIFF file, turned upright.

    Palettes become RGB, 1 and 4 bits 8, CMYK sRGB. Of several pages the first is read.

    Raises:
        FileNotFoundError: There is no such file.
        ImageError: It isn't a whole image, or not one of integers.
    """
    import pyvips  # Pictures in memory do without it.

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        with path.open("rb"):
            pass  # Raises what the operating system says where reading isn't allowed.
        image = pyvips.Image.new_from_file(str(path), fail_on="error", revalidate=True)
        if image.format not in ("uchar", "ushort"):
            raise ImageError(f"{path} has pixels of type {image.format}; only 8 and 16-bit integers are supported.")
        if image.interpretation not in ("srgb", "rgb", "rgb16", "b-w", "grey16"):
            image = image.colourspace("srgb")
        image = image.autorot()
        array = image.numpy().reshape(image.height, image.width, -1)
    except UnicodeEncodeError:
        name = os.fsencode(path).decode(errors="replace")
        raise ImageError(f"{name} can't be read: its name isn't UTF-8.") from None
    except pyvips.Error as error:
        raise ImageError(f"{path} is not a whole image: {_reason(error)}.") from None
    alpha = np.ascontiguousarray(array[:, :, -1]) if image.hasalpha() else None
    pixels = np.ascontiguousarray(array[:, :, : array.shape[2] - (alpha is not None)])
    if pixels.shape[2] not in (1, 3):
        raise ImageError(f"{path} has {pixels.shape[2]} colour channels; only grey and RGB are supported.")
    return Picture(pixels, alpha, _metadata(image), (image.xres, image.yres))


def check_format(path: Path, picture: Picture) -> None:
    """Raise an ImageError if the format that `path` names isn't written, or can't hold a picture of that kind."""
    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path.name}: images are written as {', '.join(SUFFIXES)}.")
    if picture.alpha is not None and path.suffix.lower() in (".jpg", ".jpeg"):
        raise ImageError(f"{path.name}: JPEG can't hold transparency; choose .png, .webp or .tif.")


def write_image(path: str | Path, picture: Picture) -> None:
    """Write a picture whole or not at all; the ending of `path` names the format.

    JPEG and WebP are written at quality 95 and in 8 bits.

    Raises:
        FileNotFoundError: There is no such folder.
        ImageError: The format isn't supported, or can't hold the picture.
    """
    import pyvips

    path = Path(path)
    check_format(path, picture)
    suffix = path.suffix.lower()
    pixels = picture.pixels
    if picture.alpha is not None:
        pixels = np.concatenate((pixels, picture.alpha[:, :, None]), axis=2)
    image = pyvips.Image.new_from_array(pixels)
    kinds = {(1, 1): "b-w", (3, 1): "srgb", (1, 2): "grey16", (3, 2): "rgb16"}
    kind = kinds[picture.pixels.shape[2], picture.pixels.dtype.itemsize]
    image = image.copy(interpretation=kind, xres=picture.resolution[0], yres=picture.resolution[1])
    for name, (kind_of_value, value) in picture.metadata.items():
        image.set_type(kind_of_value, name, value)
    image.set_type(pyvips.GValue.gint_type, "orientation", 1)  # Over that of the EXIF data, which was applied.
    if suffix == ".webp" and picture.pixels.dtype == np.uint16:
        image = image.colourspace("srgb" if picture.pixels.shape[2] == 3 else "b-w")
    with written_whole(path) as temporary:
        try:
            image.write_to_file(str(temporary), **_OPTIONS.get(suffix, {}))
        except pyvips.Error as error:
            raise ImageError(f"{path} could not be written: {_reason(error)}.") from None


_OPTIONS: dict[str, dict[str, Any]] = {
    ".jpg": {"Q": 95},
    ".jpeg": {"Q": 95},
    ".webp": {"Q": 95},
    ".tif": {"compression": "deflate"},
    ".tiff": {"compression": "deflate"},
}
_KEPT = ("icc-profile-data", "xmp-data", "iptc-data", "exif-data", "resolution-unit")


def _metadata(image: Any) -> dict[str, tuple[Any, Any]]:
    names = [name for name in image.get_fields() if name in _KEPT or name.startswith("exif-ifd")]
    return {name: (image.get_typeof(name), image.get(name)) for name in names}


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "libvips gave no reason"
