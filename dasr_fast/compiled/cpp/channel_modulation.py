"""Channel modulation in C++: one pass over the features."""

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported

__all__ = ["channel_modulation", "channel_modulation_backward", "unsupported"]

channel_modulation = cpp.channel_modulation.default
channel_modulation_backward = cpp.channel_modulation_backward.default
