"""Degradation-aware (DA) convolution: both branches of the paper's Figure 2(c) and the activation after them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.dynamic_depthwise_conv import (
    depthwise_backward,
    dynamic_depthwise_conv,
    leaky_relu_backward,
)
from dasr_fast.reference.layout import accumulation_dtype, memory_format


def da_conv(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    negative_slope: float,
    activate: bool,
) -> Tensor:
    """`weight @ lrelu(x (depthwise) kernel) + bias + x * gate`, then LeakyReLU if `activate`.

    Args:
        x: Features `[B, C, H, W]`.
        kernel: Depthwise filters `[B, C, k, k]`.
        weight: Pointwise weights `[C_out, C]`.
        bias: `[C_out]` or None.
        gate: Channel modulation `[B, C]` (then `C_out` is `C`), or None for the first branch alone.
        negative_slope: Slope of both LeakyReLUs; 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the sum of the branches.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.
    """
    wide = accumulation_dtype(x.dtype)
    wide_x = x.to(wide)
    y = dynamic_depthwise_conv(wide_x, kernel.to(wide), negative_slope)
    y = torch.einsum("oc,bchw->bohw", weight.to(wide), y)
    if bias is not None:
        y = y + bias.to(wide)[:, None, None]
    if gate is not None:
        y = torch.addcmul(y, wide_x, gate.to(wide)[:, :, None, None])
    if activate:
        y = F.leaky_relu(y, negative_slope)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))


def da_conv_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    gate: Tensor | None,
    y: Tensor | None,
    negative_slope: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients for `x`, `kernel`, `weight`, `bias` and `gate` (empty without a gate).

    `y` is the output if its LeakyReLU was asked for, else None. The depthwise result is computed anew.
    """
    wide = accumulation_dtype(x.dtype)
    wide_x, wide_kernel, wide_weight, grad = (t.to(wide) for t in (x, kernel, weight, grad))
    grad = leaky_relu_backward(grad, y, negative_slope)
    filtered = dynamic_depthwise_conv(wide_x, wide_kernel, negative_slope)
    grad_bias = grad.sum(dim=(0, 2, 3))
    grad_weight = torch.einsum("bohw,bchw->oc", grad, filtered)
    grad_filtered = torch.einsum("oc,bohw->bchw", wide_weight, grad)
    grad_filtered = leaky_relu_backward(grad_filtered, filtered, negative_slope)
    if x.numel() == 0:
        grad_x, grad_kernel = torch.empty_like(wide_x), torch.zeros_like(wide_kernel)
    else:
        grad_x, grad_kernel = depthwise_backward(grad_filtered, wide_x, wide_kernel)
    if gate is None:
        grad_gate = x.new_empty(0)
    else:
        grad_x = grad_x + grad * gate.to(wide)[:, :, None, None]
        grad_gate = (grad * wide_x).sum(dim=(2, 3)).to(gate.dtype)
    return (
        grad_x.to(x.dtype).contiguous(memory_format=memory_format(x)),
        grad_kernel.to(kernel.dtype).contiguous(),
        grad_weight.to(weight.dtype),
        grad_bias.to(weight.dtype),
        grad_gate,
    )
