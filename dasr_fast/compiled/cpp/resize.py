"""Resizing in C++, from the pixels and weights of each row and column."""

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported
from dasr_fast.reference.layout import image_format
from dasr_fast.reference.resize import taps

__all__ = ["resize", "unsupported"]


def resize(image: Tensor, height: int, width: int, mode: str, antialias: bool) -> Tensor:
    """As `dasr_fast.reference.resize`."""
    rows, columns = taps(image.shape[-2], height, mode, antialias), taps(image.shape[-1], width, mode, antialias)
    y, layout = cpp.resize.default(image, *rows, *columns), image_format(image)
    return y if layout == torch.contiguous_format else y.clone(memory_format=layout)
