"""The upsampler and the convolution after it as one convolution of LR features.

No activation stands between them, so that together they are an affine map: at every scale s a 5x5 convolution from C to
3 s^2 channels and a pixel shuffle. Only the outermost ring of LR pixels differs, since the layers pad with zeros
between each other; its sides and corners have kernels of their own.
"""

import copy
import math
from collections.abc import Sequence
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast.nn.convolution import is_plain, run_layers, untouched
from dasr_fast.ops.registration import autocasts, without_autocast
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

# Bands of rows and columns: everything, then the sides and corners, each corner after the sides that it ends.
_REGIONS = tuple(product(_BANDS, _BANDS))

COLOURS = 3

SMALLEST = 3
"""Rows and columns of the smallest image that has them for the first and the last band's inputs."""

WORTHWHILE = 2048
"""LR pixels from which on collapsing the layers is faster than running them, at any scale (measured on a CPU)."""

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
    layers = [layer for module in modules for layer in layers_of(module)]
    if not collapses(x) or not collapsible(layers) or not untouched(*layers) or not _computes(layers[0], x):
        for module in modules:
            x = run_layers(module, x)
        return x.contiguous()
    first: Any = layers[0]
    dtype = first.weight.dtype  # Replicas of `DataParallel` have no parameters.
    with without_autocast(x.device.type):
        kernels = region_kernels(*collapse_tail(layers, accumulation_dtype(dtype)), dtype)
    y = convolve_regions(x, kernels)
    return shuffle(y, y.dtype)


def collapses(x: Tensor) -> bool:
    """Whether collapsing the layers after features `[B, C, H, W]` is faster than running them."""
    b, _, h, w = x.shape
    # An exported program is for any size, so that nothing may depend on it.
    return not torch.compiler.is_exporting() and b * h * w >= WORTHWHILE and min(h, w) >= SMALLEST


class FixedTail:
    """Features to images by a copy of layers whose weights don't change, collapsed where that is exact.

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


def collapsible(layers: Sequence[nn.Module]) -> bool:
    """Whether `collapse_tail` takes the layers."""
    if len(layers) < 3:
        return False
    *pairs, conv = layers[:-1] if is_plain(layers[-1], 1) else layers
    last = layers[-1]
    return (
        len(pairs) in (2, 4)
        and all(is_plain(layer, 3) for layer in (*pairs[::2], conv))
        and all(type(layer).forward is nn.PixelShuffle.forward for layer in pairs[1::2])
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
    bands = len(_BANDS)
    weights = weight.permute(2, 3, 0, 1)[None, :, None].expand(bands, -1, bands, -1, -1, -1)
    biases = bias.expand(bands, bands, -1)
    for before, shuffle_after in zip(pairs[-2::-2], pairs[::-2], strict=True):
        weights, biases = _preceded(before, shuffle_after, weights, biases)
    return weights.permute(0, 2, 4, 5, 1, 3).flatten(0, 1), biases.flatten(0, 1)


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
    """Kernels with a convolution and a pixel shuffle before them.

    Both axes are treated alike: the kernels' taps are spread over the pixels of cells of r x r, a product with the
    convolution's weights makes nine taps of each cell, and those of all cells are collected.

    Args:
        conv: The convolution, from C to C' r^2 channels.
        shuffle: By r.
        weights: `[3, k, 3, k, N, C']`: band and tap of rows, then of columns.
        biases: `[3, 3, N]`.

    Returns:
        `[3, 5, 3, 5, N r^2, C]` and `[3, 3, N r^2]`.
    """
    r = shuffle.upscale_factor
    bands, size = weights.shape[:2]
    outputs, channels = weights.shape[4:]
    scale = math.isqrt(outputs // COLOURS)
    spread, collect = _spread(r, size, weights), _collect(r, weights)
    seen = len(spread)

    cells = _on_both_axes(spread.view(seen * r, -1), weights.reshape(bands * size, bands * size, -1))
    cells = cells.view(seen, r, seen, r, outputs, channels).permute(0, 2, 4, 5, 1, 3).flatten(3)
    weight, bias = _parameters(conv, weights.dtype)
    taps = (cells @ weight.flatten(1)).view(seen, seen, outputs, -1, 3, 3).permute(0, 4, 1, 5, 2, 3)
    kernels = _on_both_axes(collect.view(-1, seen * 3), taps.reshape(seen * 3, seen * 3, -1))
    kernels = kernels.view(bands, r, 5, bands, r, 5, COLOURS, scale, scale, -1).permute(0, 2, 3, 5, 6, 1, 7, 4, 8, 9)

    # What is added once for each output belongs to the middle tap, which is in the pixel's own cell.
    own = _on_both_axes(spread[..., size // 2].sum(1), biases)
    sums = _on_both_axes(collect[..., 0].sum(2).view(-1, seen), cells @ bias + own)
    sums = sums.view(bands, r, bands, r, COLOURS, scale, scale).permute(0, 2, 4, 1, 5, 3, 6)
    return kernels.flatten(4, 8), sums.flatten(2)


def _on_both_axes(matrix: Tensor, x: Tensor) -> Tensor:
    """A matrix `[M, N]` times the rows and the columns of `[N, N, ...]`: `[M, M, P]`."""
    x = x.flatten(2)
    return matrix @ (matrix @ x.flatten(1)).view(len(matrix), *x.shape[1:])


class _Pixel(NamedTuple):
    """A kind of pixel along one axis: the first of all, the last of all, or one of a cell of r anywhere else.

    Attributes:
        band: Of all pixels, index of `_BANDS`.
        place: In its cell.
        cells: Of the cell before (0), its own (1) and the one after (2), those that its kernel may see.
        seen: Index of the first of them, among all that are seen by any kind.
    """

    band: int
    place: int
    cells: range
    seen: int


def _kinds(r: int) -> list[_Pixel]:
    middle = (_Pixel(0, place, range(3), 4 + 3 * place) for place in range(r))
    return [_Pixel(1, 0, range(1, 3), 0), _Pixel(2, r - 1, range(2), 2), *middle]


def _spread(r: int, size: int, like: Tensor) -> Tensor:
    """Which tap of which band's kernel meets which pixel of a cell that is seen: `[3 r + 4, r, 3, size]`, 0 and 1."""
    # Filled on the device, where a copy from the host would wait, and break CUDA graphs; so too in _collect.
    matrix = like.new_zeros(3 * r + 4, r, len(_BANDS), size)
    for kind in _kinds(r):
        pixels = matrix[kind.seen : kind.seen + len(kind.cells)].flatten(0, 1)[:, kind.band]
        first = r + kind.place - size // 2 - kind.cells[0] * r
        pixels.diagonal(-first).fill_(1)
    return matrix


def _collect(r: int, like: Tensor) -> Tensor:
    """Where the three taps of a cell that is seen are in the kernel of a band's pixel: `[3, r, 5, 3 r + 4, 3]`."""
    matrix = like.new_zeros(len(_BANDS), r, 5, 3 * r + 4, 3)
    kinds = _kinds(r)
    for band, place in product(range(len(_BANDS)), range(r)):
        kind = next(kind for kind in kinds if kind.place == place and kind.band in (band, 0))
        for cell in range(3):
            if _BANDS[band].inside[cell]:
                matrix[band, place, :, kind.seen + cell - kind.cells[0]].diagonal(-cell).fill_(1)
    return matrix


def _computes(conv: Any, x: Tensor) -> bool:
    """Whether the convolution takes features of that type and on that device; if not, it shall say so itself."""
    same_type = x.dtype == conv.weight.dtype or autocasts(x.device.type)
    return same_type and x.device == conv.weight.device and x.shape[1] == conv.in_channels


def _parameters(conv: Any, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    weight = conv.weight.to(dtype)
    return weight, weight.new_zeros(len(weight)) if conv.bias is None else conv.bias.to(dtype)


def _convolve(x: Tensor, region: tuple[_Band, _Band], kernel: tuple[Tensor, Tensor]) -> Tensor:
    rows, columns = region
    return F.conv2d(x[..., rows.inputs, columns.inputs], *kernel, padding=(rows.padding, columns.padding))


def layers_of(module: nn.Module) -> list[nn.Module]:
    """A module, or what nested `nn.Sequential` hold, in order."""
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and untouched(module):
        return [layer for child in module for layer in layers_of(child)]
    return [module]
