"""Degradation-aware convolution in CUDA: features are read once and written once, the products on the tensor cores."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cuda
from dasr_fast.compiled.cuda.dynamic_depthwise_conv import kernel_workspace
from dasr_fast.compiled.cuda.shared_memory import of_da_conv, too_little
from dasr_fast.compiled.cuda.support import obstacle, parts, unsupported_features
from dasr_fast.compiled.layout import dense, like
from dasr_fast.reference.layout import memory_format

__all__ = ["da_conv", "da_conv_backward", "obstacle", "unsupported"]

WIDEST = 256
"""Most channels, in and out: a block holds all of the filtered tile."""


def unsupported(x: Tensor, kernel: Tensor, weight: Tensor, *_: Any) -> str | None:
    channels, out, size = x.shape[1], weight.shape[0], kernel.shape[-1]
    if channels == 0:
        return "x has no channels"
    if max(channels, out) > WIDEST:
        return f"it holds at most {WIDEST} channels, and there are {max(channels, out)}"
    return unsupported_features(x) or too_little(x.device, of_da_conv(channels, out, size, x.element_size()))


def da_conv(x: Tensor, kernel: Tensor, weight: Tensor, *others: Any) -> Tensor:
    """As `dasr_fast.reference.da_conv`; products of 16-bit features on the tensor cores, of float32 without TF32."""
    bias, gate, negative_slope, activate = others
    x = dense(x)
    b, _, h, w = x.shape
    shape = (b, weight.shape[0], h, w)
    y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    vectors = (tensor if tensor is None else tensor.contiguous() for tensor in (bias, gate))
    cuda.da_conv(x, kernel.contiguous(), weight.contiguous(), *vectors, negative_slope, activate, y)
    return y


def da_conv_backward(grad: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, *others: Any) -> tuple[Tensor, ...]:
    """As `dasr_fast.reference.da_conv.da_conv_backward`."""
    gate, y, negative_slope = others
    x = dense(x)
    b, c, h, w = x.shape
    out = weight.shape[0]
    grad, kernel, weight = like(x, grad), kernel.contiguous(), weight.contiguous()
    gate = None if gate is None else gate.contiguous()
    # Four tiles a block, if that makes enough blocks.
    chunk, tile = 128 // x.element_size(), 256 // x.element_size()
    count = parts(b * -(-c // chunk), h * w, 4 * tile)
    weight_parts, bias_parts, gate_parts = (
        torch.empty(b, count, *shape, dtype=torch.float32, device=x.device) for shape in ((out, c), (out,), (c,))
    )
    grad_filtered, grad_weight, grad_bias = torch.empty_like(x), torch.empty_like(weight), weight.new_empty(out)
    grad_activated = None if y is None or gate is None else torch.empty_like(grad)
    grad_gate = None if gate is None else torch.empty_like(gate)
    cuda.da_conv_pointwise_backward(
        *(grad, x, kernel, weight, None if y is None else like(x, y), negative_slope),
        *(grad_filtered, grad_activated, grad_weight, grad_bias, grad_gate),
        *(weight_parts, bias_parts, None if gate is None else gate_parts),
    )
    grad_x, grad_kernel = torch.empty_like(x), torch.empty_like(kernel)
    modulated = None if gate is None else grad if y is None else grad_activated
    cuda.dynamic_depthwise_conv_backward(
        *(grad_filtered, x, kernel, None, None, modulated, gate, grad_x, grad_kernel, kernel_workspace(x, kernel))
    )
    return grad_x, grad_kernel, grad_weight, grad_bias, x.new_empty(0) if grad_gate is None else grad_gate
