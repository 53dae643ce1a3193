"""Dynamic depthwise convolution in C++: one pass over the features, backward too."""

from dasr_fast.build.library import cpp
from dasr_fast.compiled.cpp.support import unsupported

__all__ = ["dynamic_depthwise_conv", "dynamic_depthwise_conv_backward", "unsupported"]

dynamic_depthwise_conv = cpp.dynamic_depthwise_conv.default
dynamic_depthwise_conv_backward = cpp.dynamic_depthwise_conv_backward.default
