"""What the C++ kernels of all ops take, and into how many parts they cut a sample."""

import torch
from torch import Tensor

from dasr_fast.build.library import INSTRUCTION_SETS, cpp

PARTS = 64
"""How many parts of a batch whose sums are added afterwards, or a few more."""

WORTHWHILE = 1024
"""Pixels of a part, or more: what it prepares should not show."""


MATRIX_UNIT = INSTRUCTION_SETS[cpp.instruction_set()] == "AVX-512 with AMX"
"""Whether the kernels use the processor's matrix unit, for bfloat16."""


def is_slow_under_autocast(x: Tensor) -> bool:
    """Whether autocast is on and its type one in which PyTorch's 3x3 convolution is faster than these kernels."""
    return torch.is_autocast_enabled("cpu") and not in_tiles(x)


def in_tiles(x: Tensor) -> bool:
    """Whether products of features `x` are computed in tiles: in bfloat16, where there is a unit for it."""
    return MATRIX_UNIT and x.dtype == torch.bfloat16


def unsupported_types(*tensors: Tensor | None) -> str | None:
    if any(tensor is not None and tensor.dtype == torch.float64 for tensor in tensors):
        return "it computes in float32, and an argument is float64"
    return None


def row_parts(x: Tensor) -> int:
    """Into how many parts the rows of a sample `[C, H, W]` are cut; it depends on the shape alone."""
    b, _, h, w = x.shape
    return max(1, min(h, -(-PARTS // max(1, b)), -(-h * w // WORTHWHILE)))


def sums(x: Tensor, *shape: int) -> Tensor:
    """Memory of that shape for sums over features `x`."""
    return x.new_empty(shape, dtype=torch.float32)
