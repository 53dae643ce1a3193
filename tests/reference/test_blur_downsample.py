import numpy as np
import pytest
import torch
from golden import arrays, error

from dasr_fast.reference import bicubic_downsample, blur_downsample


def _blurred(images: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """Images `[C, H, W]` correlated with one kernel, by NumPy."""
    kh, kw = kernel.shape
    pads = ((0, 0), (kh // 2, (kh - 1) // 2), (kw // 2, (kw - 1) // 2))
    padded = np.pad(images.numpy(), pads, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(1, 2))
    return torch.from_numpy(np.einsum("chwij,ij->chw", windows, kernel.numpy()))


@pytest.mark.parametrize("size", [(5, 5), (4, 6), (1, 3)])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_blurs_each_sample_with_its_kernel(size: tuple[int, int], scale: int):
    hr, kernel = torch.rand(2, 3, 2, 13, 12, dtype=torch.float64), torch.rand(2, *size, dtype=torch.float64)
    blurred = torch.stack([torch.stack([_blurred(n, k) for n in b]) for b, k in zip(hr, kernel, strict=True)])
    fold = blurred[..., ::scale, ::scale][..., : 13 // scale, : 12 // scale]
    torch.testing.assert_close(blur_downsample(hr, kernel, scale, "s-fold"), fold)
    down = bicubic_downsample(blurred.flatten(0, 1), scale).unflatten(0, (2, 3))
    torch.testing.assert_close(blur_downsample(hr, kernel, scale, "bicubic"), down)


def test_golden_batch():
    golden = arrays("degradation")
    hr, kernels = golden["batch/hr"], golden["batch/kernels"]
    assert error(blur_downsample(hr, kernels, 4, "bicubic"), golden["batch/lr_unrounded"]) < 1e-5
    blurred = blur_downsample(hr, kernels, 1, "bicubic")[0].flatten(0, 1)
    assert error(blurred, golden["batch/blurred_sample0"]) < 1e-5
