"""What the C++ modules of `conv3x3` and `da_half_block` share: types, and tensors as their kernels take them."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.compiled.cpu.support import in_tiles
from dasr_fast.reference.layout import memory_format

LINE = 16
"""Floats in a vector of the widest instruction set, and columns of a tile."""

DEPTH = 32
"""Channels that a tile's product takes at once."""


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
    """The arguments of kernels that aren't a tensor's: how to compute, threads, and memory for prepared weights."""
    channels_out, channels = weight.shape[:2]
    tiles, lines = in_tiles(weight), -(-channels_out // LINE) * LINE
    size = 9 * (-(-channels // DEPTH) * DEPTH) * lines // 2 if tiles else 36 * channels * lines
    prepared = weight.new_empty(size, dtype=torch.float32)
    return {"tiles": tiles, "threads": torch.get_num_threads(), "transformed": prepared}
