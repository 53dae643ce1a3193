"""The op `channel_modulation`: features times a factor per sample and channel, plus a residual."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.checks import check_alike, check_features, check_shape, check_tensor
from dasr_fast.ops.registration import autocast, compute, define, differentiate
from dasr_fast.reference.layout import memory_format

OP = "channel_modulation"


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None = None, *, backend: str = "auto") -> Tensor:
    """`x * gate[:, :, None, None] + residual`.

    Differentiable in all tensors (once). Source: `CA_layer` of the released model and the sum after it, paper
    Figure 2(c).

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        gate: Factors `[B, C]`, of the type and device of `x`.
        residual: `[B, C, H, W]` to add, of the type and device of `x`, or None.
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[B, C, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type.
        ValueError: A shape, device or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(OP, "x", x)
    check_tensor(OP, "gate", gate)
    if residual is not None:
        check_tensor(OP, "residual", residual)
    x, gate, residual = autocast(x, gate, residual)
    check_features(OP, x)
    check_shape(OP, "gate", gate, x.shape[:2], "[B, C]")
    check_alike(OP, "gate", gate, x)
    if residual is not None:
        check_shape(OP, "residual", residual, x.shape, "[B, C, H, W]")
        check_alike(OP, "residual", residual, x)
    return compute(OP, _forward, backend, (x, gate, residual))


def _fake(x: Tensor, gate: Tensor, residual: Tensor | None, backend: str) -> Tensor:
    return torch.empty_like(x, memory_format=memory_format(x))


def _fake_backward(grad: Tensor, x: Tensor, gate: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    return torch.empty_like(x, memory_format=memory_format(x)), gate.new_empty(gate.shape)


_forward = define(OP, OP, "(Tensor x, Tensor gate, Tensor? residual, str backend) -> Tensor", _fake)
_backward = define(
    OP,
    f"{OP}_backward",
    "(Tensor grad, Tensor x, Tensor gate, str backend) -> (Tensor, Tensor)",
    _fake_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, gate, residual, ctx.backend = inputs
    ctx.has_residual = residual is not None
    ctx.save_for_backward(x, gate)


def _grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_backward(grad, *ctx.saved_tensors, ctx.backend), grad if ctx.has_residual else None, None)


differentiate(OP, _grad, _save)
