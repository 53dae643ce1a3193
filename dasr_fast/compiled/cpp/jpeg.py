"""JPEG compression and decompression in C++, in whole numbers."""

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported

__all__ = ["jpeg", "unsupported"]

jpeg = cpp.jpeg.default
