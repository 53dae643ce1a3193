"""Noise in C++, in one pass."""

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported
from dasr_fast.reference.layout import image_format

__all__ = ["add_noise", "unsupported"]


def add_noise(image: Tensor, noise: Tensor, level: float, poisson: bool) -> Tensor:
    """As `dasr_fast.reference.add_noise`."""
    y, layout = cpp.add_noise.default(image, noise, level, poisson), image_format(image)
    return y if layout == torch.contiguous_format else y.clone(memory_format=layout)
