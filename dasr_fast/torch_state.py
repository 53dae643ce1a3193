"""What PyTorch tells of its state by private functions alone.

Each answer is "no" where its function is gone from a newer version.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad
from torch.fx import _symbolic_trace
from torch.nn.modules import module as _modules


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
