"""Features copied to another memory format in C++, several times as fast as by PyTorch."""

import torch
from torch import Tensor

from dasr_fast.build.library import cpp

__all__ = ["in_memory_format"]


def in_memory_format(x: Tensor, wanted: torch.memory_format) -> Tensor:
    """A copy of features `[B, C, H, W]` of 16 or 32 bits, without a gradient, as channels-last or contiguous ones."""
    copy = cpp.channels_last if wanted == torch.channels_last else cpp.contiguous
    y: Tensor = copy.default(x)
    return y
