"""3x3 convolution in C++: by Winograd's minimal filtering, or in bfloat16 in tiles on a matrix unit."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import in_tiles, is_slow_under_autocast
from dasr_fast.compiled.cpp.support import unsupported as unsupported_type
from dasr_fast.compiled.worthwhile import FEWEST_CHANNELS, fewest_pixels
from dasr_fast.reference.conv3x3 import finished

__all__ = ["conv3x3", "conv3x3_backward", "is_slow", "unsupported"]


def unsupported(x: Tensor, *_: Any) -> str | None:
    if (reason := unsupported_type(x)) is not None:
        return reason
    if x.shape[1] < FEWEST_CHANNELS:
        return f"it needs {FEWEST_CHANNELS} channels or more, and x has {x.shape[1]}"
    return None


def is_slow(x: Tensor, weight: Tensor, *_: Any) -> bool:
    """Whether PyTorch is faster: for few pixels, and under autocast to most types."""
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    return is_slow_under_autocast(x) or pixels < fewest_pixels(x.shape[1], weight.shape[0])


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
