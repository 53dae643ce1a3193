"""Resizing by any factor, pixels at the border repeated outwards."""

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.device import on_device
from dasr_fast.reference.layout import accumulation_dtype, image_format


def resize(image: Tensor, height: int, width: int, mode: str, antialias: bool) -> Tensor:
    """Resize along both axes.

    Args:
        image: `[B, N, C, H, W]` or `[B, C, H, W]`, floating point.
        height: Rows of the result.
        width: Its columns.
        mode: "area" (the mean of all pixels that a new one overlaps), "bilinear" or "bicubic" (Keys' cubic with -0.75
            or, antialiased, with -0.5).
        antialias: Whether bilinear and bicubic average over all pixels that a new one overlaps where they make images
            smaller.

    Returns:
        `[..., C, height, width]` in the type of `image`.
    """
    y = image.to(accumulation_dtype(image.dtype))
    if antialias and mode != "area" and width > 1:  # PyTorch 2.13 doesn't interpolate along rows for a single column.
        flat = F.interpolate(y.flatten(0, -4), [height, width], mode=mode, antialias=True)
        y = flat.reshape(*image.shape[:-2], height, width)
    else:
        # Along rows, then columns: transposing is faster than gathering pixels of a row.
        for length in (height, width):
            index, weight = (on_device(x, y.device) for x in taps(y.shape[-2], length, mode, antialias))
            total = y.index_select(-2, index[0]).mul_(weight[0].to(y.dtype)[:, None])
            for i, w in zip(index[1:], weight[1:].to(y.dtype), strict=True):
                total.addcmul_(y.index_select(-2, i), w[:, None])
            y = total.mT
    return y.to(image.dtype, copy=True, memory_format=image_format(image))


@lru_cache(1024)
def taps(length: int, size: int, mode: str, antialias: bool) -> tuple[Tensor, Tensor]:
    """Which of `length` pixels each of `size` new ones takes, and how much of each: both `[taps, size]`."""
    new = torch.arange(size)
    if mode == "area":
        first, end = new * length // size, -((-(new + 1) * length) // size)
        number = torch.arange(int((end - first).max()))[:, None]
        return torch.minimum(first + number, end - 1), ((number < end - first) / (end - first)).float()
    reach = 1 if mode == "bilinear" else 2
    centre = (new.double() + 0.5) * length / size - 0.5
    widened = max(length / size, 1.0) if antialias else 1.0
    number = torch.arange(math.ceil(2 * reach * widened))[:, None]
    index = (centre - reach * widened).floor().long() + 1 + number
    weight = _weight((centre - index) / widened, mode, -0.5 if antialias else -0.75)
    if antialias:  # Pixels beyond the border count for nothing, as Pillow has it.
        weight = torch.where((index >= 0) & (index < length), weight, 0.0)
        weight = weight / weight.sum(0)
    return index.clamp(0, length - 1), weight.float()


def _weight(distance: Tensor, mode: str, a: float) -> Tensor:
    """The hat function, or Keys' cubic convolution (1981) with its parameter `a`; 0 beyond their reach."""
    x = distance.abs()
    if mode == "bilinear":
        return (1 - x).clamp(min=0)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = a * (((x - 5) * x + 8) * x - 4)
    return torch.where(x <= 1, near, torch.where(x < 2, far, 0.0))
