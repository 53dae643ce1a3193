"""Images in memory."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
