"""What may look at a forward's operations, or turn them into others."""

from typing import Any

import torch
from torch.autograd import forward_ad
from torch.fx._symbolic_trace import is_fx_symbolic_tracing
from torch.nn.modules.module import _has_any_global_hook

_JIT: Any = torch.jit


def observer() -> str | None:
    """Who follows or transforms operations now, so that a module's own forward is wanted; None if nobody does.

    `torch.compile` isn't one of them: it takes the ops as they are.
    """
    if torch.compiler.is_exporting():
        return "torch.export"
    if _has_any_global_hook():  # type: ignore[no-untyped-call]
        return "a hook on all modules"
    if torch.compiler.is_compiling():
        return None
    if _JIT.is_tracing() or is_fx_symbolic_tracing():
        return "tracing"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a transform of torch.func"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if torch._C._len_torch_dispatch_stack():
        return "a mode that sees all operations, such as FlopCounterMode or FakeTensorMode,"
    return None
