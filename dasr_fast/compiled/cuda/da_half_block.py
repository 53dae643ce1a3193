"""Half of a degradation-aware block in CUDA, one kernel: in 16 bits, channels-last, with 64 channels."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.build.library import cuda
from dasr_fast.compiled.cuda.da_conv import da_conv, da_conv_backward
from dasr_fast.compiled.cuda.shared_memory import DA_HALF_BLOCK, too_little
from dasr_fast.compiled.cuda.support import obstacle, unsupported_features
from dasr_fast.compiled.layout import like
from dasr_fast.reference.conv3x3 import conv3x3_backward
from dasr_fast.reference.da_half_block import backward_by
from dasr_fast.reference.layout import memory_format

__all__ = ["da_half_block", "da_half_block_backward", "is_slow", "obstacle", "unsupported"]

CHANNELS = 64


def unsupported(
    x: Tensor, kernel: Tensor, weight: Tensor, bias: Any, gate: Any, conv_weight: Tensor, *_: Any
) -> str | None:
    if x.dtype not in (torch.float16, torch.bfloat16):
        return f"it computes in float16 and bfloat16, and x is {str(x.dtype).removeprefix('torch.')}"
    if memory_format(x) != torch.channels_last:
        return "it needs channels-last features, and x isn't"
    if not x.shape[1] == weight.shape[0] == conv_weight.shape[0] == CHANNELS:
        channels = f"{x.shape[1]}, {weight.shape[0]} and {conv_weight.shape[0]}"
        return f"it needs {CHANNELS} channels everywhere, and there are {channels}"
    if kernel.shape[-1] != 3:
        return f"it needs filters of 3x3, and kernel has {kernel.shape[-1]}x{kernel.shape[-1]}"
    return unsupported_features(x) or too_little(x.device, DA_HALF_BLOCK)


def is_slow(*_: Any) -> bool:
    """With gradients it hasn't been measured."""
    return torch.is_grad_enabled()


def da_half_block(x: Tensor, kernel: Tensor, weight: Tensor, *others: Any) -> Tensor:
    """As `dasr_fast.reference.da_half_block`. Convolutions' weights that are channels-last too are not copied."""
    bias, gate, conv_weight, conv_bias, residual, negative_slope, activate = others
    y = torch.empty_like(x, memory_format=torch.channels_last)
    bias, gate, conv_bias = (tensor if tensor is None else tensor.contiguous() for tensor in (bias, gate, conv_bias))
    cuda.da_half_block(
        *(_aligned(x), kernel.contiguous(), _aligned(weight.contiguous()), bias, gate),
        *(_aligned(conv_weight.contiguous(memory_format=torch.channels_last)), conv_bias),
        *(None if residual is None else _aligned(like(x, residual)), negative_slope, activate, y),
    )
    return y


da_half_block_backward = backward_by(da_conv, da_conv_backward, conv3x3_backward)


def _aligned(tensor: Tensor) -> Tensor:
    """The tensor, copied if 16-byte accesses would not be aligned."""
    return tensor if tensor.data_ptr() % 16 == 0 else tensor.clone()
