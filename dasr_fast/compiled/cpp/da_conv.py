"""DA convolution in C++: one pass over the features, backward too where they are channels-last, otherwise two."""

from typing import Any

from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import in_tiles, unsupported

__all__ = ["da_conv", "da_conv_backward", "unsupported"]


def da_conv(x: Tensor, *arguments: Any) -> Tensor:
    """As `dasr_fast.reference.da_conv`."""
    return cpp.da_conv.default(x, *arguments, in_tiles(x))


def da_conv_backward(grad: Tensor, x: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
    """As `dasr_fast.reference.da_conv.da_conv_backward`."""
    return cpp.da_conv_backward.default(grad, x, *arguments, in_tiles(x))
