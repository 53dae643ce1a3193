"""Normal numbers in C++, on all threads."""

from dasr_fast.build.library import cpp

__all__ = ["normal_numbers"]

normal_numbers = cpp.normal_numbers.default
