"""Against the contributions of MATLAB's `imresize` written down as a matrix, but for those from beyond the border."""

import math

import numpy as np
import pytest
import torch

from dasr_fast.reference.bicubic import bicubic_downsample, bicubic_downsample_adjoint, bicubic_upsample


def _keys(t: np.ndarray) -> np.ndarray:
    t = np.abs(t)
    inner = 1.5 * t**3 - 2.5 * t**2 + 1
    outer = -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    return np.where(t <= 1, inner, np.where(t <= 2, outer, 0))


def matrix(size: int, out: int, factor: float) -> torch.Tensor:
    """Row `i` holds the weights of output pixel `i`, those outside the image moved to its edge."""
    rows = np.zeros((out, size))
    width = 4 / min(factor, 1)
    for i in range(out):
        centre = (i + 0.5) / factor - 0.5
        taps = np.arange(math.floor(centre - width), math.ceil(centre + width) + 1)
        weights = _keys((taps - centre) * min(factor, 1))
        for tap, weight in zip(taps, weights / weights.sum(), strict=True):
            rows[i, min(max(tap, 0), size - 1)] += weight
    return torch.from_numpy(rows)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(24, 36), (13, 8), (4, 5)])
def test_downsampling(scale: int, height: int, width: int):
    x = torch.rand(2, 3, height, width, dtype=torch.float64)
    rows = matrix(height, height // scale, 1 / scale)
    columns = matrix(width, width // scale, 1 / scale)
    y = bicubic_downsample(x, scale)
    torch.testing.assert_close(y, rows @ x @ columns.T)
    grad = torch.rand_like(y)
    torch.testing.assert_close(bicubic_downsample_adjoint(grad, scale, height, width), rows.T @ grad @ columns)


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize(("height", "width"), [(9, 6), (1, 2)])
def test_upsampling(scale: int, height: int, width: int):
    x = torch.rand(1, 3, height, width, dtype=torch.float64)
    rows, columns = (matrix(size, size * scale, scale) for size in (height, width))
    torch.testing.assert_close(bicubic_upsample(x, scale), rows @ x @ columns.T)
