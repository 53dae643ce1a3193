"""Channel modulation in C++: one pass over the features."""

from typing import Any

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported
from dasr_fast.torch_state import needs_gradient

__all__ = ["channel_modulation", "channel_modulation_backward", "is_slow", "unsupported"]

channel_modulation = cpp.channel_modulation.default
channel_modulation_backward = cpp.channel_modulation_backward.default


def is_slow(*arguments: Any) -> bool:
    """Whether PyTorch is faster: its forward is one pass too, and is called with less ado."""
    return not needs_gradient(*arguments)
