"""Bicubic resizing by whole factors, antialiased, with the weights of MATLAB's `imresize`.

Indices are clamped at the edge, as in the released code; MATLAB mirrors the image there.
Cubic convolution kernel of Keys (1981) with a = -0.5. At a whole factor every output pixel has the same taps
(downsampling) or one of `scale` sets of taps (upsampling), so no table of indices is needed.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

EDGE = 2
"""Outputs at either end of an axis whose taps can reach beyond the image; each has weights of its own in kernels."""


def bicubic_downsample(x: Tensor, scale: int) -> Tensor:
    """Downsample `x` `[N, C, H, W]` by the whole factor `scale`, to `[N, C, H // scale, W // scale]`."""
    first, weights = downsampling_taps(scale)
    for dim in (2, 3):
        x = _filter(x, first, weights, stride=scale, count=x.shape[dim] // scale, dim=dim)
    return x


def bicubic_downsample_adjoint(grad: Tensor, scale: int, height: int, width: int) -> Tensor:
    """Adjoint of `bicubic_downsample` for an image of `height` x `width`: `[N, C, h, w]` to `[N, C, H, W]`."""
    first, weights = downsampling_taps(scale)
    for dim, size in ((3, width), (2, height)):
        grad = _filter_adjoint(grad, first, weights, stride=scale, size=size, dim=dim)
    return grad


def bicubic_upsample(x: Tensor, scale: int) -> Tensor:
    """Upsample `x` `[N, C, H, W]` (floating point) by the whole factor `scale`, to `[N, C, H * scale, W * scale]`.

    The baseline of the paper's Table 2, and the released module `bicubic` called with a factor above 1.
    """
    for dim in (2, 3):
        count = x.shape[dim]
        phases = [
            _filter(x, first, weights, stride=1, count=count, dim=dim)
            for first, weights in (upsampling_taps(scale, phase) for phase in range(scale))
        ]
        x = torch.stack(phases, dim=dim + 1).flatten(dim, dim + 1)
    return x


def downsampling_taps(scale: int) -> tuple[int, list[float]]:
    """First offset and weights of the taps, so that output `i` is `sum_k weights[k] * x[scale * i + first + k]`."""
    return _taps(centre=(scale - 1) / 2, width=scale)


def upsampling_taps(scale: int, phase: int) -> tuple[int, list[float]]:
    """First offset and weights of output `scale * i + phase`: `sum_k weights[k] * x[i + first + k]`."""
    return _taps(centre=(phase + 0.5) / scale - 0.5, width=1)


def _taps(centre: float, width: int) -> tuple[int, list[float]]:
    offsets = range(math.floor(centre - 2 * width), math.ceil(centre + 2 * width) + 1)
    taps = {offset: _cubic((offset - centre) / width) for offset in offsets}
    taps = {offset: weight for offset, weight in taps.items() if weight != 0}
    total = sum(taps.values())
    return min(taps), [taps.get(offset, 0.0) / total for offset in range(min(taps), max(taps) + 1)]


def _cubic(t: float) -> float:
    t = abs(t)
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    if t < 2:
        return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return 0.0


def _padding(first: int, taps: int, stride: int, count: int, size: int) -> tuple[int, int]:
    return max(0, -first), max(0, stride * (count - 1) + first + taps - size)


def _filter(x: Tensor, first: int, weights: list[float], *, stride: int, count: int, dim: int) -> Tensor:
    before, after = _padding(first, len(weights), stride, count, x.shape[dim])
    padding = (0, 0, before, after) if dim == 2 else (before, after, 0, 0)
    padded = F.pad(x, padding, mode="replicate")
    reach = stride * (count - 1) + 1
    y = None
    for k, weight in enumerate(weights):
        tap = padded.narrow(dim, before + first + k, reach)
        tap = tap[:, :, ::stride] if dim == 2 else tap[..., ::stride]
        y = tap * weight if y is None else torch.add(y, tap, alpha=weight)
    assert y is not None
    return y


def _filter_adjoint(grad: Tensor, first: int, weights: list[float], *, stride: int, size: int, dim: int) -> Tensor:
    count = grad.shape[dim]
    before, after = _padding(first, len(weights), stride, count, size)
    shape = list(grad.shape)
    shape[dim] = before + size + after
    padded = grad.new_zeros(shape)
    reach = stride * (count - 1) + 1
    for k, weight in enumerate(weights):
        tap = padded.narrow(dim, before + first + k, reach)
        tap = tap[:, :, ::stride] if dim == 2 else tap[..., ::stride]
        tap.add_(grad, alpha=weight)
    inner = padded.narrow(dim, before, size).clone()
    inner.select(dim, 0).add_(padded.narrow(dim, 0, before).sum(dim))
    inner.select(dim, size - 1).add_(padded.narrow(dim, before + size, after).sum(dim))
    return inner
