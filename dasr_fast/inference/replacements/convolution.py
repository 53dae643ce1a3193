"""Foreign 3x3 convolutions beside degradation-aware layers, by the fast op where nothing needs a gradient."""

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.inference.convolution import has_kernel
from dasr_fast.inference.replacements.replacement import untouched
from dasr_fast.inference.replacements.structure import is_plain


def conv3x3(conv: nn.Module, x: Tensor, residual: Tensor | None = None) -> Tensor:
    """`conv(x) + residual`."""
    if is_replaceable(conv, x):
        assert isinstance(conv, nn.Conv2d)
        arguments = (x, conv.weight, conv.bias, residual)
        if has_kernel("conv3x3", "auto", (*arguments, None)):
            return ops.conv3x3(*arguments)
    y: Tensor = conv(x)
    return y if residual is None else y + residual


def is_replaceable(conv: nn.Module, x: Tensor) -> bool:
    """Whether an op without gradient may compute `conv(x)` from the weights of `conv`."""
    return (
        isinstance(conv, nn.Conv2d)
        and not torch.is_grad_enabled()
        and is_plain(conv, 3)
        and untouched(conv)
        and conv.weight.dtype == x.dtype
        and conv.weight.shape[1] == x.shape[1]
        and not torch.is_autocast_enabled(x.device.type)
    )
