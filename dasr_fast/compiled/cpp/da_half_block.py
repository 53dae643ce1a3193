"""Half of a degradation-aware block in C++: the 3x3 convolution takes its inputs from a cache."""

from typing import Any

from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp import winograd
from dasr_fast.compiled.cpp.conv3x3 import conv3x3_backward
from dasr_fast.compiled.cpp.da_conv import da_conv, da_conv_backward
from dasr_fast.compiled.cpp.support import is_slow_under_autocast, unsupported_types
from dasr_fast.compiled.layout import like
from dasr_fast.reference.da_half_block import backward_by


def unsupported(x: Tensor, *_: Any) -> str | None:
    return unsupported_types(x)


def is_slow(x: Tensor, *_: Any) -> bool:
    return is_slow_under_autocast(x)


def da_half_block(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    residual: Tensor | None,
    negative_slope: float,
    activate: bool,
) -> Tensor:
    """As `dasr_fast.reference.da_half_block`.

    Channels-last features and `conv_weight` of any strides are not copied.
    """
    y = winograd.features(x, len(conv_weight))
    bias, gate, conv_bias = (tensor if tensor is None else tensor.contiguous() for tensor in (bias, gate, conv_bias))
    cpp.da_half_block(
        *(winograd.pixels(x), kernel.contiguous(), weight.contiguous(), bias, gate),
        *(conv_weight, conv_bias, None if residual is None else winograd.pixels(residual)),
        *(negative_slope, activate),
        **winograd.workspace(conv_weight),
        y=winograd.pixels(y),
    )
    return like(x, y)


da_half_block_backward = backward_by(da_conv, da_conv_backward, conv3x3_backward)
