"""Convolution modules, computed by the fast op where that is the same."""

from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from dasr_fast import ops
from dasr_fast.nn.activation import fixed_slope
from dasr_fast.ops.backends import state
from dasr_fast.ops.registration import autocasts, is_followed
from dasr_fast.reference.layout import memory_format
from dasr_fast.torch_state import has_global_hooks, needs_gradient


def convolved(
    conv: nn.Module,
    x: Tensor,
    residual: Tensor | None = None,
    *,
    activation: nn.Module | None = None,
    backend: str = "auto",
) -> Tensor:
    """`conv(x)`, then the activation if there is one, then `+ residual`: by `ops.conv3x3` where that is the same.

    Args:
        conv: Any module; an ordinary 3x3 convolution without hooks is what the op computes.
        x: Features `[B, C, H, W]`.
        residual: Added last, or None.
        activation: In the same pass if its slope is fixed and it has no hooks.
        backend: See `dasr_fast.ops`; another computes where it can't.
    """
    y: Tensor
    if residual is not None and is_wider(residual):
        return convolved(conv, x, activation=activation, backend=backend) + residual
    slope = None if activation is None else uncalled_slope(activation)
    if activation is not None and slope is None:
        y = activation(convolved(conv, x, backend=backend))
        return y if residual is None else y + residual
    if computable(conv, x):
        return ops.conv3x3(x, conv.weight, conv.bias, residual, negative_slope=slope, backend=(backend, "auto"))
    y = conv(x) if activation is None else activation(conv(x))
    return y if residual is None else y + residual


def is_wider(residual: Tensor) -> bool:
    """Whether autocast leaves the sum with a residual in another type than a convolution's result has."""
    device = residual.device.type
    return autocasts(device) and residual.dtype != torch.get_autocast_dtype(device)


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


def in_memory_format(x: Tensor, wanted: torch.memory_format) -> Tensor:
    """Features `[B, C, H, W]` in another memory format, copied unless they have it, in C++ where that can be."""
    if x.is_contiguous(memory_format=wanted):
        return x
    fast = x.device.type == "cpu" and x.dtype in (torch.float32, torch.bfloat16, torch.float16)
    if not fast or needs_gradient(x) or is_followed(x) or state("conv3x3", "cpp") is not None:
        return x.contiguous(memory_format=wanted)
    from dasr_fast.compiled.cpp import memory_format as compiled  # Where there is a library.

    return compiled.in_memory_format(x, wanted)


def computable(conv: nn.Module, x: Tensor) -> TypeGuard[nn.Conv2d]:
    """Whether an op may compute `conv(x)` from the weights of a 3x3 convolution."""
    return (
        is_plain(conv, 3)
        and untouched(conv)
        and not torch.compiler.is_exporting()
        and x.shape[1] == conv.in_channels
        and (autocasts(x.device.type) or x.dtype == conv.weight.dtype)
    )


def is_plain(conv: object, size: int) -> TypeGuard[nn.Conv2d]:
    """Whether `conv` is an ordinary two-dimensional convolution of that size that keeps height and width."""
    return (
        isinstance(conv, nn.Conv2d)
        and type(conv).forward is nn.Conv2d.forward
        and type(conv)._conv_forward is nn.Conv2d._conv_forward
        and conv.kernel_size == (size, size)
        and conv.padding == (size // 2, size // 2)
        and (conv.stride, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
        and (size == 1 or conv.padding_mode == "zeros")
    )


def uncalled_slope(activation: nn.Module) -> float | None:
    """The slope with which an op may compute an activation in its place, or None if it has to be called."""
    return fixed_slope(activation) if untouched(activation) else None


def unchanged(module: object, kind: type[nn.Module]) -> bool:
    """Whether computing what `kind` does, with the module's parts, is the same as calling the module."""
    return isinstance(module, kind) and type(module).forward is kind.forward and untouched(module)


def untouched(*modules: nn.Module) -> bool:
    """Whether computing with the modules' weights is the same as calling them.

    They have no hooks (which pruning and the older weight and spectral normalisation use too), no forward of their own
    and no parametrization, whose weights may change each time they are read.
    """
    return not has_global_hooks() and not any(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or "forward" in module.__dict__
        or parametrize.is_parametrized(module)
        for module in modules
    )
