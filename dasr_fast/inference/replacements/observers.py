"""What may look at a forward's operations, or turn them into others."""

from typing import Any

import torch

from dasr_fast import torch_state

_JIT: Any = torch.jit


def observer() -> str | None:
    """Who follows or transforms operations now, so that a module's own forward is wanted; None if nobody does.

    `torch.compile` isn't one of them: it takes the ops as they are.
    """
    if torch.compiler.is_exporting():
        return "torch.export"
    if torch_state.has_global_hooks():
        return "a hook on all modules"
    if torch.compiler.is_compiling():
        return None
    if _JIT.is_tracing() or torch_state.is_symbolically_traced():
        return "tracing"
    if torch_state.is_transformed():
        return "a transform of torch.func"
    if torch_state.differentiates_forward():
        return "forward-mode differentiation"
    if torch_state.has_dispatch_modes():
        return "a mode that sees all operations, such as FlopCounterMode or FakeTensorMode,"
    return None
