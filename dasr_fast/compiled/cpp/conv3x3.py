"""3x3 convolution in C++: by Winograd's minimal filtering, or in bfloat16 in tiles on a matrix unit."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import in_tiles, is_slow_under_autocast
from dasr_fast.compiled.cpp.support import unsupported as unsupported_type
from dasr_fast.compiled.layout import FEWEST_CHANNELS, FEWEST_CONTIGUOUS
from dasr_fast.reference.conv3x3 import finished
from dasr_fast.reference.layout import memory_format

__all__ = ["conv3x3", "conv3x3_backward", "is_slow", "unsupported"]

PIXELS = 4
"""Pixels of a batch for each output channel from which it is faster: before, weights are transformed in vain."""

PRODUCTS = 2_000_000
"""Multiplications of the convolution from which it is faster than PyTorch's, which is called with less ado."""


def unsupported(x: Tensor, *_: Any) -> str | None:
    if (reason := unsupported_type(x)) is not None:
        return reason
    if x.shape[1] < FEWEST_CHANNELS:  # Transforming tiles takes longer than PyTorch's whole convolution.
        return f"it needs {FEWEST_CHANNELS} channels or more, and x has {x.shape[1]}"
    return None


def is_slow(x: Tensor, weight: Tensor, *_: Any) -> bool:
    """Whether PyTorch is faster: for few pixels, contiguous features, and under autocast to most types."""
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    if x.shape[1] < FEWEST_CONTIGUOUS and memory_format(x) == torch.contiguous_format and not in_tiles(x):
        return True
    return is_slow_under_autocast(x) or pixels < PIXELS * weight.shape[0] or pixels * weight.numel() < PRODUCTS


def conv3x3(x: Tensor, *arguments: Any) -> Tensor:
    """As `dasr_fast.reference.conv3x3`; channels-last features and weights of any strides are not copied."""
    return cpp.conv3x3.default(x, *arguments, in_tiles(x))


def conv3x3_backward(
    grad: Tensor, x: Tensor, weight: Tensor, y: Tensor | None, negative_slope: float | None, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """As `dasr_fast.reference.conv3x3.conv3x3_backward`."""
    of_x, *of_parameters = wanted
    after, tiles = (y, negative_slope), in_tiles(x)
    grad_x = cpp.conv3x3_input_gradient.default(grad, weight, *after, tiles) if of_x else None
    of_weight = of_bias = None
    if any(of_parameters):
        of_weight, of_bias = cpp.conv3x3_weight_gradient.default(grad, x, *after, tiles)
    return finished(x, weight, grad_x, of_weight, of_bias)
