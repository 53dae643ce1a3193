"""Gaussian kernels in Triton, interpreted or on a GPU, against their formula in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS
from dasr_fast.ops.gaussian_kernel import gaussian_kernel

off = isinstance(IMPLEMENTATIONS["gaussian_kernel", "triton"], str)
pytestmark = pytest.mark.skipif(off, reason="Triton kernels are off")


def formula(size: int, sigma_x: float, sigma_y: float, theta: float) -> np.ndarray:
    rotation = np.array([[np.cos(theta), -np.sin(theta)], [np.sin(theta), np.cos(theta)]])
    inverse = np.linalg.inv(rotation @ np.diag([sigma_x**2, sigma_y**2]) @ rotation.T)
    axis = np.arange(size) - size // 2
    x = np.stack(np.meshgrid(axis, axis), -1)
    kernel = np.exp(-0.5 * np.einsum("yxi,ij,yxj->yx", x, inverse, x))
    return kernel / kernel.sum()


@settings(max_examples=20, deadline=None, derandomize=True)
@given(size=st.integers(1, 25), count=st.integers(0, 4), isotropic=st.booleans(), seed=st.integers(0, 99))
def test_agrees_with_the_formula(size: int, count: int, isotropic: bool, seed: int):
    generator = torch.Generator().manual_seed(seed)
    sigma_x, sigma_y, theta = (torch.rand(count, generator=generator) * 3.8 + 0.2 for _ in range(3))
    device = BACKENDS["triton"].device
    arguments = (sigma_x.to(device), None if isotropic else sigma_y.to(device), theta.to(device), size)
    kernels = gaussian_kernel(*arguments, backend="triton").cpu().double().numpy()
    assert kernels.shape == (count, size, size)
    for index, kernel in enumerate(kernels):
        width_x, width_y = float(sigma_x[index]), float((sigma_x if isotropic else sigma_y)[index])
        np.testing.assert_allclose(kernel, formula(size, width_x, width_y, float(theta[index])), rtol=0, atol=2e-6)


def test_width_0_is_the_identity():
    zero = torch.zeros(1, device=BACKENDS["triton"].device)
    kernel = gaussian_kernel(zero, zero, zero, 5, backend="triton")[0].cpu()
    assert torch.equal(kernel, torch.nn.functional.pad(torch.ones(1, 1), (2, 2, 2, 2)))


def test_nan_stays():
    width = torch.full((1,), torch.nan, device=BACKENDS["triton"].device)
    assert gaussian_kernel(width, None, width, 5, backend="triton").isnan().all()


def test_a_gradient_takes_the_reference():
    sigma = torch.full((1,), 1.5, requires_grad=True)
    gaussian_kernel(sigma, None, torch.zeros(1), 5)[0, 2, 2].backward()
    assert sigma.grad is not None
    assert sigma.grad < 0
