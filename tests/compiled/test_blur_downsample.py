"""Sizes at which the C++ kernel of blur_downsample takes other paths, against the reference in float64."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dasr_fast import ops, reference
from dasr_fast.ops.backends import IMPLEMENTATIONS
from tests.specification import distance

implementation = IMPLEMENTATIONS["blur_downsample", "cpp"]
pytestmark = pytest.mark.skipif(isinstance(implementation, str), reason=str(implementation))


def draw(shape: tuple[int, ...], kernel: tuple[int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    kernels = torch.rand(shape[0], *kernel, generator=generator)
    return torch.rand(shape, generator=generator) * 255, kernels / kernels.sum((1, 2), keepdim=True)


def check(shape: tuple[int, ...], kernel: tuple[int, int], scale: int, mode: str, **options: Any) -> None:
    """Result and gradients."""
    inputs = [tensor.requires_grad_() for tensor in draw(shape, kernel)]
    wide_inputs = [tensor.detach().double().requires_grad_() for tensor in inputs]
    wide_options = {name: value.double() for name, value in options.items()}
    y = ops.blur_downsample(*inputs, scale, mode=mode, backend="cpp", **options)
    target = reference.blur_downsample(*wide_inputs, scale, mode, **wide_options)
    assert y.shape == target.shape
    assert distance(y, target) <= 2e-6
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    grads, wanted = torch.autograd.grad(y, inputs, grad), torch.autograd.grad(target, wide_inputs, grad.double())
    for result, exact in zip(grads, wanted, strict=True):
        assert distance(result, exact) <= 4e-6


@pytest.mark.parametrize("mode", ["bicubic", "s-fold"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("kernel", [(1, 1), (1, 4), (2, 1), (3, 3), (6, 11), (40, 33)], ids=str)
def test_sizes_of_kernels(kernel: tuple[int, int], scale: int, mode: str):
    check((2, 2, 45, 50), kernel, scale, mode)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("beyond", [0, 1])
@pytest.mark.parametrize("outputs", [1, 2, 3, 4, 5, 6])
def test_few_outputs_of_an_axis(outputs: int, beyond: int, scale: int):
    few, many = outputs * scale + beyond, 20 * scale
    check((1, 1, few, many), (3, 2), scale, "bicubic")
    check((1, 1, many, few), (2, 3), scale, "bicubic")


@pytest.mark.parametrize("shape", [(1, 1, 1, 530, 31), (1, 1, 1, 40, 1100), (3, 7, 1, 90, 90)], ids=str)
def test_bands_and_blocks_of_columns(shape: tuple[int, ...]):
    check(shape, (5, 5), 2, "bicubic")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_types_of_noise(dtype: torch.dtype):
    noise = torch.randn(2, 3, 6, 5).to(dtype).contiguous(memory_format=torch.channels_last)
    check((2, 3, 24, 23), (5, 5), 4, "bicubic", noise=noise, level=torch.tensor([20.0, 0.5]).to(dtype))


def test_pixels_that_are_not_finite_stay_near():
    hr, kernels = draw((1, 1, 1, 64, 64), (5, 5))
    hr[..., 32, 32] = torch.inf
    y = ops.blur_downsample(hr, kernels, 4, backend="cpp")
    target = reference.blur_downsample(hr, kernels, 4, "bicubic")
    assert torch.equal(y.isfinite(), target.isfinite())


@pytest.mark.parametrize("rank", [1, 2, 3, 5, 9])
@pytest.mark.parametrize("shape", [(2, 2, 1, 45, 60), (1, 3, 90, 131)], ids=str)
@pytest.mark.parametrize("kernel", [(21, 21), (13, 18), (7, 25), (5, 5)], ids=str)
def test_kernels_that_are_sums_of_products(shape: tuple[int, ...], kernel: tuple[int, int], rank: int):
    generator = torch.Generator().manual_seed(rank)
    columns, rows = (torch.randn(shape[0], rank, size, generator=generator) for size in kernel)
    kernels = torch.einsum("brh,brw->bhw", columns, rows)
    kernels[:, :2] = 0  # And with rows and columns of zeros.
    kernels[:, :, -1] = 0
    kernels /= kernels.abs().sum((1, 2), keepdim=True)
    hr = torch.rand(shape, generator=generator) * 255
    y = ops.blur_downsample(hr, kernels, 1, backend="cpp")
    assert distance(y, reference.blur_downsample(hr.double(), kernels.double(), 1, "bicubic")) <= 2e-6


def test_kernels_of_zeros():
    hr = torch.rand(1, 1, 20, 20)
    assert ops.blur_downsample(hr, torch.zeros(1, 9, 9), 1, backend="cpp").count_nonzero() == 0
