"""Half of a degradation-aware block in C++: the 3x3 convolution takes its inputs from a cache."""

from typing import Any

from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp import conv3x3
from dasr_fast.compiled.cpp.da_conv import da_conv, da_conv_backward
from dasr_fast.compiled.cpp.support import in_tiles, unsupported
from dasr_fast.reference.da_half_block import backward_by

__all__ = ["da_half_block", "da_half_block_backward", "is_slow", "unsupported"]


def is_slow(x: Tensor, *arguments: Any) -> bool:
    """As for the 3x3 convolution."""
    conv_weight: Tensor = arguments[4]
    return conv3x3.is_slow(x, conv_weight)


def da_half_block(x: Tensor, *arguments: Any) -> Tensor:
    """As `dasr_fast.reference.da_half_block`; channels-last features and convolution weights are not copied."""
    return cpp.da_half_block.default(x, *arguments, in_tiles(x))


da_half_block_backward = backward_by(da_conv, da_conv_backward, conv3x3.conv3x3_backward)
