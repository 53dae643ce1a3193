"""JPEG compression and decompression in C++."""

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported
from dasr_fast.reference.layout import image_format

__all__ = ["jpeg", "unsupported"]


def jpeg(image: Tensor, quality: Tensor, subsampling: Tensor) -> Tensor:
    """As `dasr_fast.reference.jpeg`."""
    image = image.contiguous(memory_format=image_format(image))
    y = torch.empty_like(image)
    cpp.jpeg(image.flatten(0, -4), quality.contiguous(), subsampling.contiguous(), y.flatten(0, -4))
    return y
