"""3x3 convolution in C++ by Winograd's minimal filtering."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.compiled.cpu import winograd
from dasr_fast.compiled.layout import like
from dasr_fast.compiled.library import cpu
from dasr_fast.reference.conv3x3 import convolution_backward, finished

FEWEST = 16
"""Channels that make it worthwhile; with fewer, transforming tiles takes longer than PyTorch's whole convolution."""


def unsupported(x: Tensor, *_: Any) -> str | None:
    if (reason := winograd.unsupported(x)) is not None:
        return reason
    return None if x.shape[1] >= FEWEST else f"it needs {FEWEST} channels or more, and x has {x.shape[1]}"


def conv3x3(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, negative_slope: float | None
) -> Tensor:
    """As `dasr_fast.reference.conv3x3`.

    Channels-last features, and a `weight` that is `[3, 3, C, C_out]` in memory, are not copied.
    """
    b, _, h, w = x.shape
    y = x.new_empty(b, h, w, len(weight))
    cpu.conv3x3(
        *(winograd.pixels(x), winograd.taps(weight), None if bias is None else bias.contiguous()),
        *(None if residual is None else winograd.pixels(residual), negative_slope),
        **winograd.workspace(weight),
        y=y,
    )
    return winograd.features(y, x)


def conv3x3_backward(
    grad: Tensor, x: Tensor, weight: Tensor, y: Tensor | None, negative_slope: float, wanted: Sequence[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """As `dasr_fast.reference.conv3x3.conv3x3_backward`; the gradients for weight and bias are PyTorch's."""
    grad = like(x, grad)
    if y is not None:
        grad = torch.ops.aten.leaky_relu_backward(grad, y, negative_slope, True)
    of_x, *of_parameters = wanted
    grad_x = conv3x3(grad, weight.flip(2, 3).transpose(0, 1), None, None, None) if of_x else None
    grad_weight = grad_bias = None
    if any(of_parameters):
        _, grad_weight, grad_bias = convolution_backward(grad, x, weight, [False, *of_parameters])
    return finished(x, weight, grad_x, grad_weight, grad_bias)
