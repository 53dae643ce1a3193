"""What the C++ modules of `conv3x3` and `da_half_block` share: types, and tensors as their kernels take them."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.compiled.cpu.support import unsupported_types
from dasr_fast.reference.layout import memory_format

LINE = 16
"""Floats in a vector of the widest instruction set."""


# Asked once: torch.compile can't trace the question. The function is private; without it our kernels serve all.
_MATRIX_UNIT: bool = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()


def unsupported(x: Tensor) -> str | None:
    """Why the kernels, which compute in float32, don't take features `x`, or None."""
    if x.dtype == torch.bfloat16 and _MATRIX_UNIT:
        return "this processor has a matrix unit (AMX) for bfloat16, which PyTorch's convolutions use"
    return unsupported_types(x)


def pixels(x: Tensor) -> Tensor:
    """Features `[B, C, H, W]` as `[B, H, W, C]`, copied unless they are channels-last."""
    return x.permute(0, 2, 3, 1).contiguous()


def features(y: Tensor, x: Tensor) -> Tensor:
    """`y` `[B, H, W, C]` as features `[B, C, H, W]` in the format of `x`, copied unless that is channels-last."""
    return y.permute(0, 3, 1, 2).contiguous(memory_format=memory_format(x))


def taps(weight: Tensor) -> Tensor:
    """Weights `[C_out, C, 3, 3]` as `[3, 3, C, C_out]`, copied unless they are laid out so."""
    return weight.permute(2, 3, 1, 0).contiguous()


def workspace(weight: Tensor) -> dict[str, Any]:
    """The arguments of kernels that aren't a tensor's: threads, and memory for the transformed weights."""
    channels_out, channels = weight.shape[:2]
    size = 36 * channels * (-(-channels_out // LINE) * LINE)
    return {"threads": torch.get_num_threads(), "transformed": weight.new_empty(size, dtype=torch.float32)}
