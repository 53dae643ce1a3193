"""The op `da_conv`: both branches of a degradation-aware convolution and the activation after them."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.checks import (
    check_alike,
    check_features,
    check_flag,
    check_kernel,
    check_shape,
    check_slope,
    check_tensor,
)
from dasr_fast.ops.registration import autocast, compute, define, differentiate
from dasr_fast.reference.layout import memory_format

OP = "da_conv"


def da_conv(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    *,
    negative_slope: float = 0.1,
    activate: bool = False,
    backend: str = "auto",
) -> Tensor:
    """`weight @ lrelu(x (depthwise) kernel) + bias + x * gate`, then LeakyReLU if `activate`.

    Differentiable in all tensors (once). The backward pass computes the depthwise result anew, so that only the
    inputs, and with `activate` the output, are kept. Source: `DA_conv` of the released model, paper Figure 2(c).

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        kernel: Depthwise filters `[B, C, k, k]`, k in 1, 3, 5, 7.
        weight: Pointwise weights `[C_out, C]`.
        bias: `[C_out]`, or None.
        gate: Channel modulation `[B, C]`, which needs `C_out = C`, or None for the first branch alone.
        negative_slope: Slope in [0, 1] of both LeakyReLUs: 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the sum of both branches.
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    tensors = {"x": x, "kernel": kernel, "weight": weight, "bias": bias, "gate": gate}
    for name, tensor in tensors.items():
        if tensor is not None or name in ("x", "kernel", "weight"):
            check_tensor(OP, name, tensor)
    x, kernel, weight, bias, gate = autocast(x, kernel, weight, bias, gate)
    check_features(OP, x)
    check_kernel(OP, kernel, x)
    if weight.dim() != 2 or weight.shape[0] < 1 or weight.shape[1] != x.shape[1]:
        raise ValueError(
            f"{OP}: weight must be [C_out, C] with C = {x.shape[1]} as x has it; got {list(weight.shape)}."
        )
    if bias is not None:
        check_shape(OP, "bias", bias, weight.shape[:1], "[C_out]")
    if gate is not None:
        check_shape(OP, "gate", gate, x.shape[:2], "[B, C]")
        if weight.shape[0] != weight.shape[1]:
            raise ValueError(f"{OP}: with a gate, weight must be square [C, C]; got {list(weight.shape)}.")
    for name, tensor in (("kernel", kernel), ("weight", weight), ("bias", bias), ("gate", gate)):
        if tensor is not None:
            check_alike(OP, name, tensor, x)
    check_slope(OP, negative_slope)
    check_flag(OP, "activate", activate)
    return compute(OP, _forward, backend, (x, kernel, weight, bias, gate, negative_slope, bool(activate)))


def _fake(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    negative_slope: float,
    activate: bool,
    backend: str,
) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def fake_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    gate: Tensor | None,
    y: Tensor | None,
    negative_slope: float,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=memory_format(x)),
        torch.empty_like(kernel, memory_format=torch.contiguous_format),
        weight.new_empty(weight.shape),
        weight.new_empty(weight.shape[0]),
        x.new_empty(0) if gate is None else gate.new_empty(gate.shape),
    )


def flops(x: Sequence[int], kernel: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * (kernel[-1] ** 2 + weight[0])


def flops_backward(
    grad: Sequence[int], x: Sequence[int], kernel: Sequence[int], weight: Sequence[int], *_: Any, **__: Any
) -> int:
    """Those of both gradients of both convolutions, and of the depthwise result once more."""
    return 2 * math.prod(x) * (3 * kernel[-1] ** 2 + 2 * weight[0])


_forward = define(
    OP,
    OP,
    "(Tensor x, Tensor kernel, Tensor weight, Tensor? bias, Tensor? gate, float negative_slope, bool activate, "
    "str backend) -> Tensor",
    _fake,
    flops,
)
_backward = define(
    OP,
    f"{OP}_backward",
    "(Tensor grad, Tensor x, Tensor kernel, Tensor weight, Tensor? gate, Tensor? y, float negative_slope, "
    "str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    fake_backward,
    flops_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, kernel, weight, bias, gate, ctx.negative_slope, activate, ctx.backend = inputs
    ctx.has_bias = bias is not None
    ctx.save_for_backward(x, kernel, weight, gate, output if activate else None)


def _grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved = ctx.saved_tensors
    *grads, grad_bias, grad_gate = _backward(grad, *saved, ctx.negative_slope, ctx.backend)
    return (
        *grads,
        grad_bias if ctx.has_bias else None,
        None if saved[3] is None else grad_gate,
        None,
        None,
        None,
    )


differentiate(OP, _grad, _save)
