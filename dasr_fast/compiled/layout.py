"""Dense features: the only ones that compiled kernels take."""

import torch
from torch import Tensor

from dasr_fast.reference.layout import memory_format


def dense(x: Tensor) -> Tensor:
    """`x` `[B, C, H, W]`, copied to contiguous memory unless it is contiguous or channels-last already."""
    return x.contiguous(memory_format=memory_format(x))


def like(x: Tensor, tensor: Tensor) -> Tensor:
    """`tensor` in the memory format of the dense features `x`, copied only if it has another."""
    return tensor.contiguous(memory_format=memory_format(x))


def channels_last(x: Tensor) -> bool:
    """Whether dense features `x` are laid out so."""
    return memory_format(x) == torch.channels_last
