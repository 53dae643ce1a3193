"""Channel modulation in C++: one pass over the features."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import row_parts, sums, unsupported_types
from dasr_fast.compiled.layout import channels_last, dense, like


def unsupported(x: Tensor, *_: Any) -> str | None:
    return unsupported_types(x)


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None) -> Tensor:
    """As `dasr_fast.reference.channel_modulation`."""
    x = dense(x)
    y = torch.empty_like(x)
    cpp.channel_modulation(x, gate.contiguous(), None if residual is None else like(x, residual), y)
    return y


def channel_modulation_backward(grad: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """As `dasr_fast.reference.channel_modulation.channel_modulation_backward`."""
    x = dense(x)
    grad_x = torch.empty_like(x)
    parts = row_parts(x) if channels_last(x) else 1
    grad_gate = sums(x, x.shape[0], parts, x.shape[1])
    cpp.channel_modulation_backward(like(x, grad), x, gate.contiguous(), grad_x, grad_gate)
    return grad_x, grad_gate.sum(1).to(gate.dtype)
