"""The upsampler and the convolution after it as one convolution of LR features.

No activation stands between them, so that together they are an affine map: at every scale s a 5x5 convolution from C to
3 s^2 channels and a pixel shuffle. Only the outermost ring of LR pixels differs, since the layers pad with zeros
between each other; its sides and corners have kernels of their own.
"""

import copy
import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast.reference.layout import accumulation_dtype


class _Band(NamedTuple):
    """Rows of an image, or columns, that share a kernel.

    Attributes:
        inside: Of the row before, the row itself and the row after, which are in the image.
        inputs: The rows of the image that they depend on.
        taps: The kernel's rows that meet those.
        padding: Rows of zeros above and below the inputs.
        outputs: The rows themselves; for the middle all, the first and last to be overwritten.
    """

    inside: tuple[int, int, int]
    inputs: slice
    taps: slice
    padding: int
    outputs: slice


_MIDDLE = _Band((1, 1, 1), slice(None), slice(None), 2, slice(None))
_FIRST = _Band((0, 1, 1), slice(None, 3), slice(-3, None), 0, slice(None, 1))
_LAST = _Band((1, 1, 0), slice(-3, None), slice(None, 3), 0, slice(-1, None))

# Bands of rows and columns: everything, then the sides and corners, each corner after the sides that it ends.
_REGIONS = tuple(product((_MIDDLE, _FIRST, _LAST), (_MIDDLE, _FIRST, _LAST)))

_SMALLEST = 3
"""Rows and columns of the smallest image that has them for the first and the last band's inputs."""


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
        convolutions = [layer for layer in self._layers if isinstance(layer, nn.Conv2d)]
        convolutions[0].weight.div_(gain)
        self._kernels: list[tuple[Tensor, Tensor]] = []
        if all(layer.kernel_size == (3, 3) for layer in convolutions[:-1]):
            for (rows, columns), weight, bias in zip(_REGIONS, *collapse_tail(list(self._layers)), strict=True):
                taps = weight[..., rows.taps, columns.taps].to(dtype, memory_format=torch.channels_last)
                self._kernels.append((taps, bias.to(dtype)))
        self._layers.to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Features `[B, C, H, W]` to contiguous float32 images `[B, 3, s H, s W]` (float64 from float64)."""
        dtype = accumulation_dtype(x.dtype)
        if not self._kernels or min(x.shape[-2:]) < _SMALLEST:
            return self._layers(x).to(dtype, memory_format=torch.contiguous_format)
        everything, *border = zip(_REGIONS, self._kernels, strict=True)
        y = _convolve(x, *everything)
        for region, kernel in border:
            rows, columns = region
            y[..., rows.outputs, columns.outputs] = _convolve(x, region, kernel)
        return _shuffle(y, dtype)


def collapse_tail(layers: Sequence[nn.Module]) -> tuple[Tensor, Tensor]:
    """Kernels and biases of the convolutions that the layers together are.

    A pixel's kernels are what the layers' adjoint makes of impulses in its outputs, its biases what the layers make of
    zeros. Its neighbours' features between layers are zero where the image ends. Differentiable in the layers'
    parameters.

    Args:
        layers: 3x3 convolutions (padding 1) and pixel shuffles in turns, a 3x3 and a 1x1 convolution.

    Returns:
        Weights `[9, 3 s^2, C, 5, 5]` and biases `[9, 3 s^2]` in float64: of the middle, the left and right column, the
        top row and its two corners, the bottom row and its two corners. Outputs are in the order of a pixel shuffle.
    """
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    first, last = convolutions[0], convolutions[-1]
    scale = math.prod(layer.upscale_factor for layer in layers if isinstance(layer, nn.PixelShuffle))
    outputs = last.out_channels * scale**2
    inside = torch.tensor([(rows.inside, columns.inside) for rows, columns in _REGIONS], dtype=torch.float64)
    inside = (inside[:, 0, :, None] * inside[:, 1, None, :]).to(first.weight.device)

    def cut(x: Tensor) -> Tensor:
        """`x` `[9 N, C, 3 r, 3 r]`, zero outside the image."""
        r = x.shape[-1] // 3
        mask = inside.repeat_interleave(r, 1).repeat_interleave(r, 2)[:, None, None]
        return (x.view(len(inside), -1, *x.shape[1:]) * mask).flatten(0, 1)

    impulses = inside.new_zeros(len(inside), outputs, outputs, 3, 3)
    impulses[..., 1, 1] = torch.eye(outputs)
    weights = F.pixel_shuffle(impulses.flatten(0, 1), scale)
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            padding = 0 if layer is first else layer.kernel_size[0] // 2
            weights = F.conv_transpose2d(weights, layer.weight.double(), padding=padding)
        elif isinstance(layer, nn.PixelShuffle):
            weights = F.pixel_unshuffle(cut(weights), layer.upscale_factor)

    biases = inside.new_zeros(len(inside), first.in_channels, 3, 3)
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            bias = None if layer.bias is None else layer.bias.double()
            biases = F.conv2d(biases, layer.weight.double(), bias, padding=layer.kernel_size[0] // 2)
        elif isinstance(layer, nn.PixelShuffle):
            biases = cut(F.pixel_shuffle(biases, layer.upscale_factor))
    return weights.view(len(inside), outputs, *weights.shape[1:]), F.pixel_unshuffle(biases, scale)[:, :, 1, 1]


def _convolve(x: Tensor, region: tuple[_Band, _Band], kernel: tuple[Tensor, Tensor]) -> Tensor:
    rows, columns = region
    return F.conv2d(x[..., rows.inputs, columns.inputs], *kernel, padding=(rows.padding, columns.padding))


def _shuffle(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixel shuffle of `[B, 3 s^2, H, W]` to contiguous `[B, 3, s H, s W]`, in one pass also from channels-last."""
    b, channels, h, w = x.shape
    scale = math.isqrt(channels // 3)
    y = x.new_empty(b, 3, h, scale, w, scale, dtype=dtype)
    y.copy_(x.view(b, 3, scale, scale, h, w).permute(0, 1, 4, 2, 5, 3))
    return y.view(b, 3, h * scale, w * scale)
