"""The upsampler and the convolution after it as one convolution of LR features.

No activation stands between them, so that together they are an affine map: at every scale s a 5x5 convolution from C to
3 s^2 channels and a pixel shuffle. Only the outermost ring of LR pixels differs, since the layers pad with zeros
between each other; its sides and corners have kernels of their own.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast.nn.convolution import is_plain, run_layers, untouched
from dasr_fast.reference.layout import accumulation_dtype


class _Band(NamedTuple):
    """Rows of an image, or columns, that share a kernel.

    Attributes:
        inside: Whether the row before, the row itself and the row after are in the image.
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

_BANDS = (_MIDDLE, _FIRST, _LAST)

_BAND_PAIRS = tuple(product(range(len(_BANDS)), repeat=2))

# Bands of rows and columns: everything, then the sides and corners, each corner after the sides that it ends.
_REGIONS = tuple(product(_BANDS, _BANDS))

COLOURS = 3

SMALLEST = 3
"""Rows and columns of the smallest image that has them for the first and the last band's inputs."""

WORTHWHILE = 4096
"""LR pixels for which the layers take as long as collapsing them does (measured on a CPU)."""

Kernels = list[tuple[Tensor, Tensor]]
"""Weights and bias of each region."""


def run_tail(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What the modules make of features one after the other, by one convolution where that is the same and faster.

    Differentiable.

    Args:
        modules: Layers, or nested `nn.Sequential` of them.
        x: Features `[B, C, H, W]`.

    Returns:
        Contiguous images, in the type that the modules give.
    """
    b, _, h, w = x.shape
    layers = [layer for module in modules for layer in _flattened(module)]
    large = b * h * w >= WORTHWHILE and min(h, w) >= SMALLEST and not torch.compiler.is_exporting()
    if not large or not collapsible(layers) or not untouched(*layers) or not _computes(layers[0], x):
        for module in modules:
            x = run_layers(module, x)
        return x.contiguous()
    dtype = next(layers[0].parameters()).dtype
    with torch.autocast(x.device.type, enabled=False):
        kernels = region_kernels(*collapse_tail(layers, accumulation_dtype(dtype)), dtype)
    y = convolve_regions(x, kernels)
    return shuffle(y, y.dtype)


def collapsible(layers: Sequence[nn.Module]) -> bool:
    """Whether `collapse_tail` takes the layers."""
    if len(layers) < 3:
        return False
    *pairs, conv = layers[:-1] if is_plain(layers[-1], 1) else layers
    last = layers[-1]
    return (
        len(pairs) in (2, 4)
        and all(is_plain(layer, 3) for layer in (*pairs[::2], conv))
        and all(isinstance(layer, nn.PixelShuffle) for layer in pairs[1::2])
        and isinstance(last, nn.Conv2d)
        and last.out_channels == COLOURS
    )


def collapse_tail(layers: Sequence[nn.Module], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Kernels and biases of the convolutions that the layers together are.

    From the last layers to the first, each convolution and its pixel shuffle are put before what stands already. Their
    features are zero where the image ends. Differentiable in the layers' parameters.

    Args:
        layers: 3x3 convolutions (padding 1) and pixel shuffles in turns, a 3x3 convolution, perhaps one of 1x1.
        dtype: In which to compute.

    Returns:
        Weights `[9, 3 s^2, C, 5, 5]` and biases `[9, 3 s^2]`: of the middle, the left and right
        column, the top row and its two corners, the bottom row and its two corners. Outputs are in the order of a pixel
        shuffle.
    """
    *pairs, conv = layers[:-1] if is_plain(layers[-1], 1) else layers
    weight, bias = _parameters(conv, dtype)
    if conv is not layers[-1]:
        mix, offset = _parameters(layers[-1], dtype)
        weight, bias = torch.einsum("omhw,mcyx->ocyx", mix, weight), mix[:, :, 0, 0] @ bias + offset
    weights, biases = (tensor.expand(len(_REGIONS), *tensor.shape) for tensor in (weight, bias))
    for before, shuffle_after in zip(pairs[-2::-2], pairs[::-2], strict=True):
        weights, biases = _preceded(before, shuffle_after, weights, biases)
    return weights, biases


def region_kernels(weights: Tensor, biases: Tensor, dtype: torch.dtype) -> Kernels:
    """The result of `collapse_tail`, each region's taps that meet the image, in the type of the features."""
    return [
        (weight[..., rows.taps, columns.taps].to(dtype, memory_format=torch.channels_last), bias.to(dtype))
        for (rows, columns), weight, bias in zip(_REGIONS, weights, biases, strict=True)
    ]


def convolve_regions(x: Tensor, kernels: Kernels) -> Tensor:
    """Features `[B, C, H, W]` of at least `SMALLEST` rows and columns to `[B, 3 s^2, H, W]`."""
    everything, *border = zip(_REGIONS, kernels, strict=True)
    y = _convolve(x, *everything)
    for region, kernel in border:
        rows, columns = region
        y[..., rows.outputs, columns.outputs] = _convolve(x, region, kernel)
    return y


def shuffle(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Pixel shuffle of `[B, 3 s^2, H, W]` to contiguous `[B, 3, s H, s W]`, in one pass also from channels-last."""
    b, channels, h, w = x.shape
    scale = math.isqrt(channels // COLOURS)
    y = x.new_empty(b, COLOURS, h, scale, w, scale, dtype=dtype)
    y.copy_(x.view(b, COLOURS, scale, scale, h, w).permute(0, 1, 4, 2, 5, 3))
    return y.view(b, COLOURS, h * scale, w * scale)


def _preceded(conv: Any, shuffle: Any, weights: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
    """Kernels `[9, N, C', k, k]` and biases `[9, N]`, with a convolution and a pixel shuffle before them.

    Returns:
        `[9, N r^2, C, 5, 5]` and `[9, N r^2]` for a shuffle by r.
    """
    outputs, channels, size = weights.shape[1:4]
    scale, r, regions = math.isqrt(outputs // COLOURS), shuffle.upscale_factor, len(_REGIONS)

    def of_pixel(tensor: Tensor, y: int, x: int) -> Tensor:
        """What belongs to one pixel of a cell of r x r, for each region of cells."""
        return torch.stack(
            [tensor[3 * _band_of(rows, y, r) + _band_of(columns, x, r)] for rows, columns in _BAND_PAIRS]
        )

    def placed(y: int, x: int) -> Tensor:
        """The kernels of one pixel of a cell, on that cell and the 8 around it."""
        left, above = r + x - size // 2, r + y - size // 2
        return F.pad(of_pixel(weights, y, x), (left, 3 * r - size - left, above, 3 * r - size - above))

    cells = torch.stack([torch.stack([placed(y, x) for x in range(r)], 1) for y in range(r)], 1)
    cells = cells.view(regions, r, r, COLOURS, scale, scale, channels, 3, r, 3, r)
    cells = cells.permute(0, 3, 1, 4, 2, 5, 7, 9, 6, 8, 10)  # region, outputs; cell; channels before the shuffle
    inside = weights.new_ones(
        3, 3
    )  # Filled on the device, where a copy from the host would wait, and break CUDA graphs.
    for band, (before, _, after) in enumerate(band.inside for band in _BANDS):
        inside[band, 0], inside[band, 2] = before, after
    inside = inside[:, None, :, None] * inside[None, :, None, :]
    cells = cells * inside.view(regions, *[1] * 5, 3, 3, 1, 1, 1)
    cells = cells.reshape(regions * outputs * r**2, 9, -1)

    weight, bias = _parameters(conv, weights.dtype)
    columns = (cells.flatten(0, 1) @ weight.flatten(1)).view(*cells.shape[:2], -1).transpose(1, 2)
    inner_biases = torch.stack([torch.stack([of_pixel(biases, y, x) for x in range(r)], 1) for y in range(r)], 1)
    inner_biases = inner_biases.view(regions, r, r, COLOURS, scale, scale).permute(0, 3, 1, 4, 2, 5)
    return (
        F.fold(columns, 5, 3).view(regions, -1, weight.shape[1], 5, 5),
        inner_biases.reshape(regions, -1) + (cells.sum(1) @ bias).view(regions, -1),
    )


def _band_of(band: int, pixel: int, r: int) -> int:
    """The band, among all pixels, of a pixel of a cell of r in a band of cells; both are indices of `_BANDS`."""
    return band if (_BANDS[band], pixel) in ((_FIRST, 0), (_LAST, r - 1)) else 0


def _computes(conv: Any, x: Tensor) -> bool:
    """Whether the convolution takes features of that type and on that device; if not, it shall say so itself."""
    same_type = x.dtype == conv.weight.dtype or torch.is_autocast_enabled(x.device.type)
    return same_type and x.device == conv.weight.device and x.shape[1] == conv.in_channels


def _parameters(conv: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight = conv.weight.to(dtype)
    return weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.to(dtype)


def _convolve(x: Tensor, region: tuple[_Band, _Band], kernel: tuple[Tensor, Tensor]) -> Tensor:
    rows, columns = region
    return F.conv2d(x[..., rows.inputs, columns.inputs], *kernel, padding=(rows.padding, columns.padding))


def _flattened(module: nn.Module) -> list[nn.Module]:
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and untouched(module):
        return [layer for child in module for layer in _flattened(child)]
    return [module]
