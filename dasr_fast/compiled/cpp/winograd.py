"""What the C++ modules of `conv3x3` and `da_half_block` share: tensors as their kernels take them, and memory."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.compiled.cpp.support import in_tiles

LINE = 16
"""Floats in a vector of the widest instruction set, and columns of a tile."""

DEPTH = 32
"""Channels that a tile's product takes at once."""


def pixels(x: Tensor) -> Tensor:
    """Features `[B, C, H, W]` as `[B, H, W, C]`, copied unless they are channels-last."""
    return x.permute(0, 2, 3, 1).contiguous()


def features(x: Tensor, channels: int) -> Tensor:
    """Memory for features `[B, channels, H, W]` of the type of `x`, channels-last: what `pixels` doesn't copy."""
    # Not a view of `[B, H, W, channels]`: autograd lets nobody change a view in place that an op returns.
    shape = (x.shape[0], channels, *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)


def workspace(weight: Tensor) -> dict[str, Any]:
    """The arguments of kernels that aren't a tensor's: how to compute, threads, and memory for prepared weights."""
    channels_out, channels = weight.shape[:2]
    tiles, lines = in_tiles(weight), -(-channels_out // LINE) * LINE
    size = 9 * (-(-channels // DEPTH) * DEPTH) * lines // 2 if tiles else 36 * channels * lines
    prepared = weight.new_empty(size, dtype=torch.float32)
    return {"tiles": tiles, "threads": torch.get_num_threads(), "transformed": prepared}
