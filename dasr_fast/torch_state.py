"""What PyTorch tells of its state, and who follows its operations.

Where a newer version lacks a private function, the answer is "no".
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.fx import _symbolic_trace
from torch.nn.modules import module as _modules

PLAIN = (Tensor, nn.Parameter)
"""Subclasses of `Tensor` mean something else by their operations."""


def _no() -> bool:
    return False


# Looked up once: torch.compile follows the functions, not the search for them.
is_symbolically_traced: Callable[[], bool] = getattr(_symbolic_trace, "is_fx_symbolic_tracing", _no)
"""Whether `torch.fx` is tracing."""

is_transformed: Callable[[], bool] = getattr(torch._C, "_are_functorch_transforms_active", _no)
"""Whether a transform of `torch.func` is on."""

_global_hooks: Callable[[], Any] = getattr(_modules, "_has_any_global_hook", _no)
_dispatch_modes: Callable[[], Any] = getattr(torch._C, "_len_torch_dispatch_stack", _no)


def has_global_hooks() -> bool:
    """Whether a hook is on all modules."""
    return bool(_global_hooks())


def has_dispatch_modes() -> bool:
    """Whether a mode sees all operations, such as `FlopCounterMode` or `FakeTensorMode`."""
    return bool(_dispatch_modes())


def differentiates_forward() -> bool:
    """Whether forward-mode differentiation is on."""
    return getattr(forward_ad, "_current_level", -1) >= 0


def is_traced() -> bool:
    """Whether `torch.jit.trace` records."""
    return bool(_JIT.is_tracing())


def observer() -> str | None:
    """Who follows or transforms operations now, so that PyTorch's own are wanted; None if nobody does.

    `torch.compile` isn't one of them: it takes the ops as they are.
    """
    if torch.compiler.is_exporting():
        return "torch.export"
    if has_global_hooks():
        return "a hook on all modules"
    if torch.compiler.is_compiling():
        return None
    if is_traced() or is_symbolically_traced():
        return "tracing"
    if is_transformed():
        return "a transform of torch.func"
    if differentiates_forward():
        return "forward-mode differentiation"
    if has_dispatch_modes():
        return "a mode that sees all operations, such as FlopCounterMode or FakeTensorMode,"
    return None


def needs_gradient(*values: Any) -> bool:
    """Whether a backward pass may ask for the gradient of a tensor among the values."""
    return torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in values)


_JIT: Any = torch.jit
