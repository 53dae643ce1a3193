"""What the C++ kernels of all ops take, and where they use the processor's matrix unit."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import INSTRUCTION_SETS, cpp

MATRIX_UNIT = INSTRUCTION_SETS[cpp.instruction_set()] == "AVX-512 with AMX"
"""Whether the kernels use the processor's matrix unit, for bfloat16."""


def unsupported(x: Tensor, *_: Any) -> str | None:
    return "it computes in float32, and an argument is float64" if x.dtype == torch.float64 else None


def is_slow_under_autocast(x: Tensor, *_: Any) -> bool:
    """Whether autocast is on and its type one in which PyTorch's 3x3 convolution is faster than these kernels."""
    return torch.is_autocast_enabled("cpu") and not in_tiles(x)


def in_tiles(x: Tensor) -> bool:
    """Whether products of features `x` are computed in tiles: in bfloat16, where there is a unit for it."""
    return MATRIX_UNIT and x.dtype == torch.bfloat16
