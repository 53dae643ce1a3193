"""Layout and precision rules that every backend of every op keeps."""

import torch
from torch import Tensor


def memory_format(x: Tensor) -> torch.memory_format:
    """Memory format of an op's output, given its first input `[B, C, H, W]`.

    Channels-last when `x` is laid out so, contiguous in every other case (also for slices and transposes).
    """
    if not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    return torch.contiguous_format


def image_format(images: Tensor) -> torch.memory_format:
    """As `memory_format` for images `[B, C, H, W]`; contiguous for `[B, N, C, H, W]`."""
    return memory_format(images) if images.dim() == 4 else torch.contiguous_format


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """Type in which an op with inputs of `dtype` accumulates: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
