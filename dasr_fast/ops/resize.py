"""The op `resize`: images of one size resized by any factor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast import reference
from dasr_fast.ops.backends import Asked
from dasr_fast.ops.checks import check_flag, check_floating, check_tensor, shown
from dasr_fast.ops.op import Op
from dasr_fast.reference.layout import image_format
from dasr_fast.torch_state import needs_gradient

_NAME = "resize"

MODES = ("area", "bilinear", "bicubic")


def _fake(image: Tensor, height: int, width: int, *_: Any) -> Tensor:
    shape = *image.shape[:-2], height, width
    return torch.empty(shape, dtype=image.dtype, device=image.device, memory_format=image_format(image))


OP = Op(_NAME, {}, fake=_fake)


def resize(
    image: Tensor, size: Sequence[int], mode: str, *, antialias: bool = False, backend: Asked = "auto"
) -> Tensor:
    """Resize along both axes, pixels at the border repeated outwards.

    "area" is the mean of all pixels that a new pixel overlaps. "bilinear" and "bicubic" are those of
    `torch.nn.functional.interpolate`: Keys' cubic with -0.75 or, antialiased, with -0.5, as MATLAB and Pillow have it.
    Differentiable in `image`. Autocast leaves it alone: a grey level is finer than a 16-bit float.

    Args:
        image: `[B, C, H, W]` or `[B, N, C, H, W]`, floating point.
        size: Rows and columns of the result.
        mode: One of `MODES`.
        antialias: Whether bilinear and bicubic average over all pixels that a new one overlaps where they make images
            smaller.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        Images of that size in the type and memory format of `image`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A shape, the size, the mode or a backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(_NAME, "image", image)
    check_floating(_NAME, "image", image)
    if image.dim() not in (4, 5) or 0 in image.shape[-2:]:
        raise ValueError(f"{_NAME}: image must be [B, N, C, H, W] or [B, C, H, W]; got {list(image.shape)}.")
    if not isinstance(size, Sequence) or len(size) != 2 or not all(isinstance(x, int) and x > 0 for x in size):
        raise ValueError(f"{_NAME}: size must be two whole numbers of at least 1; got {shown(size)}.")
    if not isinstance(mode, str) or mode not in MODES:
        raise ValueError(f"{_NAME}: mode must be {', '.join(MODES)}; got {shown(mode)}.")
    check_flag(_NAME, "antialias", antialias)
    height, width = size
    if needs_gradient(image):
        return reference.resize(image, height, width, mode, bool(antialias))
    return OP.compute(backend, image, height, width, mode, bool(antialias))
