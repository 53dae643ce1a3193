"""The op `conv3x3`: a 3x3 convolution with what follows it."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.checks import check_alike, check_features, check_shape, check_slope, check_tensor
from dasr_fast.ops.registration import autocast, compute, define, differentiate, needs_gradient
from dasr_fast.reference.layout import memory_format

OP = "conv3x3"


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    *,
    negative_slope: float | None = None,
    backend: str = "auto",
) -> Tensor:
    """3x3 convolution of `x` padded with zeros, then LeakyReLU if asked for, then `+ residual`.

    Differentiable in all tensors (once). With an activation the output is kept for the backward pass, and nothing
    before it.

    The backend `cpp` computes 4x4 results at a time, by Winograd's filtering. Their rounding errors are relative to the
    largest of the tile's 6x6 inputs: about 2e-6 of it times the largest weight of its channel. So one number of 10^6
    among features of about 1 changes results that it doesn't reach, by 0.4 where weights reach 0.3. The reference
    doesn't do this.

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        weight: `[C_out, C, 3, 3]`.
        bias: `[C_out]`, or None.
        residual: `[B, C_out, H, W]`, added last, or None.
        negative_slope: Slope in [0, 1] of the LeakyReLU: 0 is a ReLU; None for no activation.
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    optional = {"bias": bias, "residual": residual}
    given = {"x": x, "weight": weight} | {name: tensor for name, tensor in optional.items() if tensor is not None}
    for name, tensor in given.items():
        check_tensor(OP, name, tensor)
    x, weight, bias, residual = autocast(x, weight, bias, residual)
    check_features(OP, x)
    if weight.dim() != 4 or weight.shape[0] < 1 or tuple(weight.shape[1:]) != (x.shape[1], 3, 3):
        raise ValueError(
            f"{OP}: weight must be [C_out, C, 3, 3] with C = {x.shape[1]} as x has it; got {list(weight.shape)}."
        )
    if bias is not None:
        check_shape(OP, "bias", bias, weight.shape[:1], "[C_out]")
    if residual is not None:
        shape = (x.shape[0], weight.shape[0], *x.shape[2:])
        check_shape(OP, "residual", residual, shape, "[B, C_out, H, W]")
    for name, tensor in (("weight", weight), ("bias", bias), ("residual", residual)):
        if tensor is not None:
            check_alike(OP, name, tensor, x)
    if negative_slope is not None:
        check_slope(OP, negative_slope)
        if residual is not None and needs_gradient(x, weight, bias, residual):
            # The gradient needs the sign of what the activation returned, which the sum would hide.
            return conv3x3(x, weight, bias, negative_slope=negative_slope, backend=backend) + residual
    return compute(OP, _forward, backend, (x, weight, bias, residual, negative_slope))


def _fake(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None,
    negative_slope: float | None,
    backend: str,
) -> Tensor:
    shape = (x.shape[0], weight.shape[0], *x.shape[2:])
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=memory_format(x))


def _fake_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    y: Tensor | None,
    negative_slope: float,
    wanted: list[bool],
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    of_x, of_weight, of_bias = wanted
    return (
        torch.empty_like(x, memory_format=memory_format(x)) if of_x else x.new_empty(0),
        weight.new_empty(weight.shape) if of_weight else x.new_empty(0),
        weight.new_empty(weight.shape[0]) if of_bias else x.new_empty(0),
    )


def flops(x: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    """Those of the convolution as it is defined; Winograd's filtering multiplies less."""
    return 2 * math.prod(x) * weight[0] * 9


def _flops_backward(
    grad: Sequence[int],
    x: Sequence[int],
    weight: Sequence[int],
    y: Sequence[int] | None,
    negative_slope: float,
    wanted: Sequence[bool],
    *_: Any,
    **__: Any,
) -> int:
    return sum(wanted[:2]) * flops(x, weight)


_forward = define(
    OP,
    OP,
    "(Tensor x, Tensor weight, Tensor? bias, Tensor? residual, float? negative_slope, str backend) -> Tensor",
    _fake,
    flops,
)
_backward = define(
    OP,
    f"{OP}_backward",
    "(Tensor grad, Tensor x, Tensor weight, Tensor? y, float negative_slope, bool[] wanted, str backend) "
    "-> (Tensor, Tensor, Tensor)",
    _fake_backward,
    _flops_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _, _, negative_slope, ctx.backend = inputs
    ctx.negative_slope = 1.0 if negative_slope is None else negative_slope
    ctx.save_for_backward(x, weight, None if negative_slope is None else output)


def _grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    wanted, of_residual = list(ctx.needs_input_grad[:3]), ctx.needs_input_grad[3]
    grads = _backward(grad, *ctx.saved_tensors, ctx.negative_slope, wanted, ctx.backend)
    of_inputs = (g if want else None for g, want in zip(grads, wanted, strict=True))
    return (*of_inputs, grad if of_residual else None, None, None)


differentiate(OP, _grad, _save)
