"""An image as programs hold it, super-resolved: by Pillow, in an array or in a tensor."""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dasr_fast.images import Picture, Pixels
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.pictures import upscale as upscale_picture
from dasr_fast.models.checkpoint import FOR_PICTURES
from dasr_fast.ops.checks import type_name

WHITE = 65535
"""That of the 16 bits as which numbers from 0 to 1 are computed."""


def upscale(image: Any, scale: int | None = None, *, weights: str | None = None, device: str = "auto") -> Any:
    """An image super-resolved, as `dasr-fast upscale` does it, in the form in which it came.

    The weights are loaded at the first call and kept for the next.

    Args:
        image: A Pillow image; an array `[H, W]` or `[H, W, C]` with C 1, 3 or 4 (alpha); a tensor `[C, H, W]` or
            `[B, C, H, W]` with C 1 or 3. Whole numbers are 0 to 255 (uint8) or 0 to 65535 (uint16), others 0 to 1.
        scale: 2, 3 or 4; that of the weights if None, and 4 if there are no weights either.
        weights: Name of weights that come with the package, or the path of some; if None `x4-photo` or
            `x2-photo`, which are for photographs, or `x3` at scale 3.
        device: "auto", "cpu" or "cuda": where to compute.

    Returns:
        The result, `scale` times as high and wide: of the image's kind and type, and on a tensor's device. Pillow
        images are L, LA, RGB, RGBA, I;16 or I (of 16 bits); other modes become RGB.

    Raises:
        TypeError: The image is something else.
        ValueError: It has another shape or mode F, numbers lie outside of their range, or the weights are of another
            scale.
        FileNotFoundError: There are no such weights.
        RuntimeError: See `inference.pictures.upscale`, which also warns.
    """
    engine = shared_engine(weights or FOR_PICTURES.get(4 if scale is None else scale, f"x{scale}"), device)
    if scale not in (None, engine.scale):
        raise ValueError(f"upscale: {weights} are weights for scale {engine.scale}; got scale {scale!r}.")
    return upscale_with(engine, image)


@lru_cache(maxsize=4)
def shared_engine(weights: str, device: str = "auto") -> Engine:
    """An engine with these weights, made once."""
    from dasr_fast.device import find_device
    from dasr_fast.models import BlindSR

    return Engine(BlindSR.from_pretrained(weights).to(find_device(device)))


def upscale_with(engine: Engine, image: Any, v: Tensor | None = None) -> Any:
    """As `upscale`, by an engine; with the embedding `v` `[256]` or `[1, 256]` in place of the image's own."""
    if isinstance(image, Tensor):
        return _tensor(engine, image, v)
    if isinstance(image, np.ndarray):
        return _array(engine, image, v)
    try:
        from PIL import Image
    except ImportError:
        Image = None  # type: ignore[assignment]
    if Image is None or not isinstance(image, Image.Image):
        raise TypeError(f"upscale: image must be a Pillow image, an array or a tensor; got {type(image).__name__}.")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep(engine, image, v)
    if image.mode not in ("L", "LA", "RGB", "RGBA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    pixels = np.asarray(image)
    if image.mode == "LA":
        return Image.merge("LA", [Image.fromarray(plane) for plane in _planes(engine, pixels, v)])
    return Image.fromarray(_array(engine, pixels, v))


def _deep(engine: Engine, image: Any, v: Tensor | None) -> Any:
    """A grey Pillow image of more than 8 bits, super-resolved; Pillow's own conversion would make it white."""
    from PIL import Image

    numbers = np.asarray(image)
    if image.mode == "F" or numbers.min() < 0 or numbers.max() > WHITE:
        raise ValueError(f"upscale: a Pillow image of mode {image.mode} must hold whole numbers in 0 to {WHITE}.")
    result = Image.fromarray(_array(engine, numbers.astype(np.uint16), v))
    return result.convert("I") if image.mode == "I" else result


def _planes(engine: Engine, pixels: Pixels, v: Tensor | None) -> tuple[Pixels, Pixels]:
    """Grey and alpha of `[H, W, 2]`, super-resolved."""
    result = upscale_picture(engine, Picture(pixels[..., :1].copy(), pixels[..., 1].copy()), v=v)
    assert result.alpha is not None
    return result.pixels[..., 0], result.alpha


def as_picture(image: Pixels) -> Picture:
    """A picture of an array as `upscale` takes it; numbers from 0 to 1 become 16 bits."""
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)) or 0 in image.shape:
        raise ValueError(f"upscale: image must be [H, W] or [H, W, C] with C 1, 3 or 4; got {list(image.shape)}.")
    if image.dtype not in (np.uint8, np.uint16):
        image = np.round(_in_range(image) * WHITE).astype(np.uint16)
    planes = image if image.ndim == 3 else image[..., None]
    alpha = np.ascontiguousarray(planes[..., 3]) if planes.shape[2] == 4 else None
    return Picture(np.ascontiguousarray(planes[..., :3]), alpha)


def _array(engine: Engine, image: Pixels, v: Tensor | None) -> Pixels:
    result = upscale_picture(engine, as_picture(image), v=v)
    pixels = result.pixels if result.alpha is None else np.dstack((result.pixels, result.alpha))
    if np.issubdtype(image.dtype, np.floating):
        pixels = (pixels / np.float32(WHITE)).astype(image.dtype)
    return pixels if image.ndim == 3 else pixels[..., 0]


def _tensor(engine: Engine, image: Tensor, v: Tensor | None) -> Tensor:
    if image.dim() not in (3, 4) or image.shape[-3] not in (1, 3) or 0 in image.shape[-2:]:
        raise ValueError(f"upscale: image must be [C, H, W] or [B, C, H, W] with C 1 or 3; got {list(image.shape)}.")
    if not image.is_floating_point() and image.dtype != torch.uint8:
        raise TypeError(f"upscale: a tensor must be uint8 or floating point; got {type_name(image.dtype)}.")
    images = (image if image.dim() == 4 else image[None]).detach()
    arrays = images.permute(0, 2, 3, 1).to("cpu", torch.uint8 if image.dtype == torch.uint8 else torch.float32).numpy()
    results = [torch.from_numpy(_array(engine, array, v)).permute(2, 0, 1) for array in arrays]
    empty = images.new_empty(0, images.shape[1], *(length * engine.scale for length in images.shape[2:]))
    whole = torch.stack(results).to(image.device, image.dtype) if results else empty
    return whole if image.dim() == 4 else whole[0]


def _in_range(image: Pixels) -> Pixels:
    """Numbers in 0 to 1, checked; what rounding leaves outside is cut off."""
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"upscale: an array must be uint8, uint16 or floating point; got {image.dtype}.")
    if not (image.min() > -0.01 and image.max() < 1.01):  # NaN is neither.
        raise ValueError(f"upscale: floating-point images are 0 to 1; got {image.min():.4g} to {image.max():.4g}.")
    return image.astype(np.float32).clip(0, 1)
