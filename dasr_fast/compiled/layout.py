"""Dense features: the only ones that compiled kernels take, and when copying contiguous ones pays."""

import torch
from torch import Tensor

from dasr_fast.reference.layout import memory_format

FEWEST_CHANNELS, FEWEST_CONTIGUOUS = 16, 128
"""Channels from which on 3x3 convolutions in C++ are faster than PyTorch's: of channels-last features, and of
contiguous ones, which are copied to channels-last and back (measured with AVX2)."""


def dense(x: Tensor) -> Tensor:
    """`x` `[B, C, H, W]`, copied to contiguous memory unless it is contiguous or channels-last already."""
    return x.contiguous(memory_format=memory_format(x))


def like(x: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` in the memory format of the dense features `x`, copied only if it has another."""
    return tensor.contiguous(memory_format=memory_format(x))


def channels_last(x: Tensor) -> bool:
    """Whether dense features `x` are laid out so."""
    return memory_format(x) == torch.channels_last
