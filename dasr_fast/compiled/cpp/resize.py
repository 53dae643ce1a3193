"""Resizing in C++."""

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported
from dasr_fast.reference.layout import image_format

__all__ = ["resize", "unsupported"]

REACH = {"area": 0, "bilinear": 1, "bicubic": 2}
"""Pixels that a new one looks at on either side; none for the mean of an area."""


def resize(image: Tensor, height: int, width: int, mode: str, antialias: bool) -> Tensor:
    """As `dasr_fast.reference.resize`."""
    y, layout = cpp.resize.default(image, height, width, REACH[mode], antialias), image_format(image)
    return y if layout == torch.contiguous_format else y.clone(memory_format=layout)
