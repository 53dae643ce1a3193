"""3x3 convolution in C++: by Winograd's minimal filtering, or in bfloat16 in tiles on a matrix unit."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp import winograd
from dasr_fast.compiled.cpp.support import in_tiles, is_slow_under_autocast, unsupported_types
from dasr_fast.compiled.layout import like
from dasr_fast.reference.conv3x3 import finished

FEWEST = 16
"""Channels that make it worthwhile; with fewer, transforming tiles takes longer than PyTorch's whole convolution."""


PARTS = 16
"""Most parts whose sums over pixels are added afterwards."""

PIXELS = 2048
"""Pixels of a part: its sums have to be transformed, which should not show."""


def unsupported(x: Tensor, *_: Any) -> str | None:
    if (reason := unsupported_types(x)) is not None:
        return reason
    return None if x.shape[1] >= FEWEST else f"it needs {FEWEST} channels or more, and x has {x.shape[1]}"


def is_slow(x: Tensor, *_: Any) -> bool:
    return is_slow_under_autocast(x)


def conv3x3(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, negative_slope: float | None
) -> Tensor:
    """As `dasr_fast.reference.conv3x3`.

    Channels-last features and weights of any strides are not copied.
    """
    y = winograd.features(x, len(weight))
    cpp.conv3x3(
        *(winograd.pixels(x), weight, None if bias is None else bias.contiguous()),
        *(None if residual is None else winograd.pixels(residual), negative_slope),
        **winograd.workspace(weight),
        y=winograd.pixels(y),
    )
    return like(x, y)


def conv3x3_backward(
    grad: Tensor, x: Tensor, weight: Tensor, y: Tensor | None, negative_slope: float | None, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """As `dasr_fast.reference.conv3x3.conv3x3_backward`."""
    negative_slope = 1.0 if negative_slope is None else negative_slope
    of_x, *of_parameters = wanted
    after = winograd.pixels(grad), None if y is None else winograd.pixels(y)
    grad_x = _input_gradient(*after, weight, negative_slope, x) if of_x else None
    of_weight, of_bias = (
        _weight_gradient(*after, winograd.pixels(x), negative_slope) if any(of_parameters) else 2 * [None]
    )
    return finished(x, weight, grad_x, of_weight, of_bias)


def _input_gradient(grad: Tensor, y: Tensor | None, weight: Tensor, negative_slope: float, x: Tensor) -> Tensor:
    """For features `x`; `grad` and `y` are `[B, H, W, C_out]`."""
    grad_x = winograd.features(x, x.shape[1])
    cpp.conv3x3_input_gradient(
        grad, weight, y, negative_slope, **winograd.workspace(weight.transpose(0, 1)), grad_x=winograd.pixels(grad_x)
    )
    return like(x, grad_x)


def _weight_gradient(grad: Tensor, y: Tensor | None, x: Tensor, negative_slope: float) -> tuple[Tensor, Tensor]:
    """For a weight `[C_out, C, 3, 3]` and a bias `[C_out]` in float32; all arguments are `[B, H, W, C]`."""
    b, h, w, channels = x.shape
    parts = max(1, min(PARTS, b * h * w // PIXELS))
    of_weight, of_bias = (
        x.new_empty(parts, *shape, grad.shape[-1], dtype=torch.float32) for shape in ((3, 3, channels), ())
    )
    cpp.conv3x3_weight_gradient(grad, x, y, negative_slope, in_tiles(x), of_weight, of_bias)
    return of_weight.sum(0).permute(3, 2, 0, 1), of_bias.sum(0)
