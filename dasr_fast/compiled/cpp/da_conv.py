"""DA convolution in C++: one pass over the features, backward too where they are channels-last, otherwise two."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.dynamic_depthwise_conv import kernel_gradient, kernel_sums
from dasr_fast.compiled.cpp.support import in_tiles, row_parts, sums, unsupported_types
from dasr_fast.compiled.layout import channels_last, dense, like
from dasr_fast.reference.layout import memory_format


def unsupported(x: Tensor, *_: Any) -> str | None:
    return unsupported_types(x)


def da_conv(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    negative_slope: float,
    activate: bool,
) -> Tensor:
    """As `dasr_fast.reference.da_conv`."""
    x = dense(x)
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    bias, gate = (None if tensor is None else tensor.contiguous() for tensor in (bias, gate))
    cpp.da_conv(x, kernel.contiguous(), weight.contiguous(), bias, gate, negative_slope, activate, in_tiles(x), y)
    return y


def da_conv_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    gate: Tensor | None,
    y: Tensor | None,
    negative_slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `dasr_fast.reference.da_conv.da_conv_backward`."""
    x = dense(x)
    (b, c), parts = x.shape[:2], row_parts(x)
    grad_x = torch.empty_like(x)
    grad_filtered = None if channels_last(x) else torch.empty_like(x, dtype=torch.float32)
    grad_kernel = kernel_sums(x, kernel)
    grad_weight, grad_bias = sums(x, b * parts, *weight.shape), sums(x, b * parts, weight.shape[0])
    grad_gate = None if gate is None else sums(x, b, parts, c)
    cpp.da_conv_backward(
        *(like(x, grad), x, kernel.contiguous(), weight.contiguous(), None if gate is None else gate.contiguous()),
        *(None if y is None else like(x, y), negative_slope, in_tiles(x)),
        *(grad_filtered, grad_x, grad_kernel, grad_weight, grad_bias, grad_gate),
    )
    return (
        grad_x,
        kernel_gradient(grad_kernel, x, kernel),
        grad_weight.sum(0).to(weight.dtype),
        grad_bias.sum(0).to(weight.dtype),
        x.new_empty(0) if grad_gate is None else grad_gate.sum(1).to(x.dtype),
    )
