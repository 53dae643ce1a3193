"""The op `da_half_block`: half of a degradation-aware block."""

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
from dasr_fast.ops.conv3x3 import flops as flops_of_conv3x3
from dasr_fast.ops.da_conv import fake_backward as of_da_conv
from dasr_fast.ops.da_conv import flops as flops_of_da_conv
from dasr_fast.ops.da_conv import flops_backward as flops_backward_of_da_conv
from dasr_fast.ops.registration import autocast, compute, define, differentiate, needs_gradient
from dasr_fast.reference.layout import memory_format

OP = "da_half_block"


def da_half_block(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    residual: Tensor | None = None,
    *,
    negative_slope: float = 0.1,
    activate: bool = False,
    backend: str = "auto",
) -> Tensor:
    """3x3 convolution of `lrelu(da_conv(x, ...))`, then LeakyReLU if `activate`, then `+ residual`.

    Both halves of the released `DAB`: the first with `activate`, the second with the block's input as `residual`.
    Differentiable in all tensors (once). Nothing between the convolutions is kept: the backward pass computes it again.
    The 3x3 convolution's rounding errors on a CPU are those of `conv3x3`.

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        kernel: Depthwise filters `[B, C, k, k]`, k in 1, 3, 5, 7.
        weight: Pointwise weights `[M, C]`.
        bias: `[M]`, or None.
        gate: Channel modulation `[B, C]`, which needs `M = C`, or None for the first branch alone.
        conv_weight: Weights `[C_out, M, 3, 3]` of the convolution, which pads its input with zeros.
        conv_bias: `[C_out]`, or None.
        residual: `[B, C_out, H, W]`, added last, or None.
        negative_slope: Slope in [0, 1] of every LeakyReLU: 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the 3x3 convolution.
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    required = {"x": x, "kernel": kernel, "weight": weight, "conv_weight": conv_weight}
    optional = {"bias": bias, "gate": gate, "conv_bias": conv_bias, "residual": residual}
    for name, tensor in (*required.items(), *((n, t) for n, t in optional.items() if t is not None)):
        check_tensor(OP, name, tensor)
    x, kernel, weight, bias, gate, conv_weight, conv_bias, residual = autocast(
        x, kernel, weight, bias, gate, conv_weight, conv_bias, residual
    )
    check_features(OP, x)
    check_kernel(OP, kernel, x)
    if weight.dim() != 2 or weight.shape[0] < 1 or weight.shape[1] != x.shape[1]:
        raise ValueError(f"{OP}: weight must be [M, C] with C = {x.shape[1]} as x has it; got {list(weight.shape)}.")
    if bias is not None:
        check_shape(OP, "bias", bias, weight.shape[:1], "[M]")
    if gate is not None:
        check_shape(OP, "gate", gate, x.shape[:2], "[B, C]")
        if weight.shape[0] != weight.shape[1]:
            raise ValueError(f"{OP}: with a gate, weight must be square [C, C]; got {list(weight.shape)}.")
    middle = weight.shape[0]
    if conv_weight.dim() != 4 or conv_weight.shape[0] < 1 or tuple(conv_weight.shape[1:]) != (middle, 3, 3):
        raise ValueError(
            f"{OP}: conv_weight must be [C_out, M, 3, 3] with M = {middle} as weight has it; "
            f"got {list(conv_weight.shape)}."
        )
    if conv_bias is not None:
        check_shape(OP, "conv_bias", conv_bias, conv_weight.shape[:1], "[C_out]")
    if residual is not None:
        shape = (x.shape[0], conv_weight.shape[0], *x.shape[2:])
        check_shape(OP, "residual", residual, shape, "[B, C_out, H, W]")
    others = {"kernel": kernel, "weight": weight, "bias": bias, "gate": gate}
    others |= {"conv_weight": conv_weight, "conv_bias": conv_bias, "residual": residual}
    for name, tensor in others.items():
        if tensor is not None:
            check_alike(OP, name, tensor, x)
    check_slope(OP, negative_slope)
    check_flag(OP, "activate", activate)
    if activate and residual is not None and needs_gradient(x, *others.values()):
        # The gradient needs the sign of what the activation returned, which the sum would hide.
        return residual + da_half_block(
            *(x, kernel, weight, bias, gate, conv_weight, conv_bias),
            negative_slope=negative_slope,
            activate=True,
            backend=backend,
        )
    arguments = (x, kernel, weight, bias, gate, conv_weight, conv_bias, residual, negative_slope, bool(activate))
    return compute(OP, _forward, backend, arguments)


def _fake(
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
    backend: str,
) -> Tensor:
    shape = (x.shape[0], conv_weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _fake_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    conv_weight: Tensor,
    y: Tensor | None,
    negative_slope: float,
    backend: str,
) -> tuple[Tensor, ...]:
    return (
        *of_da_conv(grad, x, kernel, weight, gate, y, negative_slope, backend),
        weight.new_empty(conv_weight.shape),
        weight.new_empty(conv_weight.shape[0]),
    )


def _flops(
    x: Sequence[int],
    kernel: Sequence[int],
    weight: Sequence[int],
    bias: Sequence[int] | None,
    gate: Sequence[int] | None,
    conv_weight: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    return flops_of_da_conv(x, kernel, weight) + flops_of_conv3x3(_middle(x, weight), conv_weight)


def _flops_backward(
    grad: Sequence[int],
    x: Sequence[int],
    kernel: Sequence[int],
    weight: Sequence[int],
    bias: Sequence[int] | None,
    gate: Sequence[int] | None,
    conv_weight: Sequence[int],
    *_: Any,
    **__: Any,
) -> int:
    """Those of all gradients, and of the DA convolution once more."""
    of_da_conv = flops_of_da_conv(x, kernel, weight) + flops_backward_of_da_conv(grad, x, kernel, weight)
    return of_da_conv + 2 * flops_of_conv3x3(_middle(x, weight), conv_weight)


def _middle(x: Sequence[int], weight: Sequence[int]) -> Sequence[int]:
    return x[0], weight[0], *x[2:]


_forward = define(
    OP,
    OP,
    "(Tensor x, Tensor kernel, Tensor weight, Tensor? bias, Tensor? gate, Tensor conv_weight, Tensor? conv_bias, "
    "Tensor? residual, float negative_slope, bool activate, str backend) -> Tensor",
    _fake,
    _flops,
)

_backward = define(
    OP,
    f"{OP}_backward",
    "(Tensor grad, Tensor x, Tensor kernel, Tensor weight, Tensor? bias, Tensor? gate, Tensor conv_weight, Tensor? y, "
    "float negative_slope, str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _fake_backward,
    _flops_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, conv_bias, _, ctx.negative_slope, activate, ctx.backend = inputs
    ctx.has_conv_bias = conv_bias is not None
    ctx.save_for_backward(*tensors, output if activate else None)


def _grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    saved, of_residual = ctx.saved_tensors, ctx.needs_input_grad[7]
    *grads, grad_conv_bias = _backward(grad, *saved, ctx.negative_slope, ctx.backend)
    return (
        *(None if tensor is None else g for tensor, g in zip(saved, grads, strict=False)),
        grad_conv_bias if ctx.has_conv_bias else None,
        grad if of_residual else None,
        *(None, None, None),
    )


differentiate(OP, _grad, _save)
