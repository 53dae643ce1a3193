"""Convolution modules, computed by the fast op where that is the same."""

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules.module import _has_any_global_hook

from dasr_fast import ops
from dasr_fast.nn.activation import fixed_slope
from dasr_fast.ops.backends import has_kernel, state
from dasr_fast.reference.layout import memory_format


def convolved(
    conv: nn.Module,
    x: Tensor,
    residual: Tensor | None = None,
    *,
    activation: nn.Module | None = None,
    backend: str = "auto",
) -> Tensor:
    """`conv(x)`, then the activation if there is one, then `+ residual`: by `ops.conv3x3` where a kernel computes it.

    Args:
        conv: Any module; an ordinary 3x3 convolution without hooks is what the op computes.
        x: Features `[B, C, H, W]`.
        residual: Added last, or None.
        activation: In the same pass if its slope is fixed and it has no hooks.
        backend: See `dasr_fast.ops`.
    """
    y: Tensor
    slope = fixed_slope(activation) if activation is not None and untouched(activation) else None
    if activation is not None and slope is None:
        y = activation(convolved(conv, x, backend=backend))
        return y if residual is None else y + residual
    if computable(conv, x):
        arguments = (x, conv.weight, conv.bias, residual)
        if has_kernel("conv3x3", backend, (*arguments, slope)):
            return ops.conv3x3(*arguments, negative_slope=slope, backend=backend)
    y = conv(x) if activation is None else activation(conv(x))
    return y if residual is None else y + residual


def run_layers(module: nn.Module, x: Tensor) -> Tensor:
    """`module(x)`, with the fast op for convolutions inside of nested `nn.Sequential` too."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and untouched(module):
        for child in module:
            x = run_layers(child, x)
        return x
    return convolved(module, x)


def features_format(x: Tensor) -> torch.memory_format:
    """The memory format in which features are computed fastest: channels-last where `ops.conv3x3` has kernels."""
    if torch.compiler.is_exporting():  # To runtimes without kernels and formats.
        return torch.contiguous_format
    if x.device.type == "cpu" and state("conv3x3", "cpp") is None:
        return torch.channels_last
    return memory_format(x)


def computable(conv: nn.Module, x: Tensor) -> TypeGuard[nn.Conv2d]:
    """Whether an op may compute `conv(x)` from the weights of a 3x3 convolution."""
    return (
        is_plain(conv, 3)
        and untouched(conv)
        and not torch.compiler.is_exporting()
        and x.dtype == conv.weight.dtype
        and x.shape[1] == conv.in_channels
        and not torch.is_autocast_enabled(x.device.type)  # In its types PyTorch's convolution may be the fastest.
    )


def is_plain(conv: object, size: int) -> TypeGuard[nn.Conv2d]:
    """Whether `conv` is an ordinary two-dimensional convolution of that size that keeps height and width."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and conv.kernel_size == (size, size)
        and conv.padding == (size // 2, size // 2)
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and (size == 1 or conv.padding_mode == "zeros")
    )


def untouched(*modules: nn.Module) -> bool:
    """Whether computing with the modules' weights is the same as calling them: no hooks, no other forward."""
    return not _has_any_global_hook() and not any(  # type: ignore[no-untyped-call]
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
        for module in modules
    )
