"""The tail of an SR network whose weights don't change."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dasr_fast.nn.collapsed_tail import (
    SMALLEST,
    Kernels,
    collapse_tail,
    collapsible,
    convolve_regions,
    region_kernels,
    shuffle,
)
from dasr_fast.reference.layout import accumulation_dtype


class Tail:
    """Features to images, by the collapsed layers where that is exact.

    Images of fewer than 3 rows or columns, and convolutions of other sizes than 3x3, go through a copy of the layers.

    Args:
        layers: As for `collapse_tail`, but for the size of the convolutions.
        dtype: Type of the features.
        gain: Factor, a power of two, by which features come scaled; it is undone.
    """

    def __init__(self, layers: Sequence[nn.Module], dtype: torch.dtype = torch.float32, gain: float = 1.0) -> None:
        self._layers = copy.deepcopy(nn.Sequential(*layers)).requires_grad_(False)
        next(layer for layer in self._layers if isinstance(layer, nn.Conv2d)).weight.div_(gain)
        self._kernels: Kernels = []
        if collapsible(list(self._layers)):
            self._kernels = region_kernels(*collapse_tail(list(self._layers)), dtype)
        self._layers.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Features `[B, C, H, W]` to contiguous float32 images `[B, 3, s H, s W]` (float64 from float64)."""
        dtype = accumulation_dtype(x.dtype)
        if not self._kernels or min(x.shape[-2:]) < SMALLEST:
            return self._layers(x).to(dtype, memory_format=torch.contiguous_format)
        return shuffle(convolve_regions(x, self._kernels), dtype)
