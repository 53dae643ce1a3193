"""Inputs for emulated kernels, and how far their results are from float64."""

from collections.abc import Callable

import torch
from torch import Tensor


def misaligned(x: Tensor) -> Tensor:
    """The same values and layout, one element behind an address that is a multiple of 16."""
    dense = x.contiguous(memory_format=torch.channels_last) if _channels_last(x) else x.contiguous()
    memory = torch.empty(x.numel() + 1, dtype=x.dtype)
    return memory.as_strided(dense.shape, dense.stride(), 1).copy_(x)


def _channels_last(x: Tensor) -> bool:
    return x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x,
    "misaligned": lambda x: misaligned(x.contiguous()),
    "misaligned channels-last": lambda x: misaligned(LAYOUTS["channels-last"](x)),
    "sliced": lambda x: torch.nn.functional.pad(x, (1, 2), value=torch.nan)[..., 1:-2],
}

VARIANTS = [
    *((torch.float32, layout) for layout in ("contiguous", "channels-last")),
    *((torch.float16, layout) for layout in LAYOUTS),
    (torch.bfloat16, "channels-last"),
]
"""Types and layouts that reach all code."""
