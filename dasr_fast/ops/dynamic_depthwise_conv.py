"""The op `dynamic_depthwise_conv`: a k x k depthwise filter for every sample and channel."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.checks import check_alike, check_features, check_kernel, check_slope, check_tensor
from dasr_fast.ops.registration import autocast, compute, define, differentiate
from dasr_fast.reference.layout import memory_format

OP = "dynamic_depthwise_conv"


def dynamic_depthwise_conv(
    x: Tensor, kernel: Tensor, *, negative_slope: float | None = None, backend: str = "auto"
) -> Tensor:
    """`y[b, c] = x[b, c]` cross-correlated with `kernel[b, c]`, zero padding `k // 2`, then LeakyReLU if asked.

    Differentiable in `x` and `kernel` (once). Source: `DA_conv` of the released model (its `groups = B * C`
    convolution), paper Figure 2(c).

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        kernel: Filters `[B, C, k, k]`, k in 1, 3, 5, 7, of the type and device of `x`.
        negative_slope: Slope in [0, 1] of the LeakyReLU that follows; None for none.
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[B, C, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(OP, "x", x)
    check_tensor(OP, "kernel", kernel)
    x, kernel = autocast(x, kernel)
    check_features(OP, x)
    check_kernel(OP, kernel, x)
    check_alike(OP, "kernel", kernel, x)
    if negative_slope is not None:
        check_slope(OP, negative_slope)
    return compute(OP, _forward, backend, (x, kernel, negative_slope))


def _fake(x: Tensor, kernel: Tensor, negative_slope: float | None, backend: str) -> Tensor:
    return torch.empty_like(x, memory_format=memory_format(x))


def _fake_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, y: Tensor, negative_slope: float | None, backend: str
) -> tuple[Tensor, Tensor]:
    return (
        torch.empty_like(x, memory_format=memory_format(x)),
        torch.empty_like(kernel, memory_format=torch.contiguous_format),
    )


def _flops(x: Sequence[int], kernel: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * kernel[-1] ** 2


def _flops_backward(grad: Sequence[int], x: Sequence[int], kernel: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * _flops(x, kernel)


_forward = define(OP, OP, "(Tensor x, Tensor kernel, float? negative_slope, str backend) -> Tensor", _fake, _flops)
_backward = define(
    OP,
    f"{OP}_backward",
    "(Tensor grad, Tensor x, Tensor kernel, Tensor y, float? negative_slope, str backend) -> (Tensor, Tensor)",
    _fake_backward,
    _flops_backward,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, kernel, ctx.negative_slope, ctx.backend = inputs
    ctx.save_for_backward(x, kernel, x if ctx.negative_slope is None else output)


def _grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return (*_backward(grad, *ctx.saved_tensors, ctx.negative_slope, ctx.backend), None, None)


differentiate(OP, _grad, _save)
