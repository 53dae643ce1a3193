import math

import numpy as np
import pytest
import torch
from golden import arrays, error

from dasr_fast.degradation import gaussian_kernel

KERNELS = [key for key in arrays("degradation") if key.startswith("kernel/")]


@pytest.mark.parametrize("key", KERNELS)
def test_golden(key: str):
    _, kind, widths = key.split("/")
    size = 15 if kind == "iso15" else 21
    numbers = [float(number) for number in widths.split(",")]
    turned = (numbers[1], math.radians(numbers[2])) if kind == "aniso" else ()
    kernel = gaussian_kernel(size, numbers[0], *turned)
    assert error(kernel, arrays("degradation")[key]) < 1e-6


@pytest.mark.parametrize("size", [1, 4, 21])
@pytest.mark.parametrize(
    ("sigma_x", "sigma_y", "theta"), [(1.5, 0.7, 0.4), (0.4, 3.0, 2.9), (2.0, 2.0, 1.0), (9, 0.3, -5)]
)
def test_is_the_density_of_a_turned_gaussian(size: int, sigma_x: float, sigma_y: float, theta: float):
    y, x = torch.meshgrid(*2 * [torch.arange(size, dtype=torch.float64) - size // 2], indexing="ij")
    along, across = math.cos(theta) * x + math.sin(theta) * y, math.cos(theta) * y - math.sin(theta) * x
    density = torch.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
    kernel = gaussian_kernel(size, sigma_x, sigma_y, theta)
    torch.testing.assert_close(kernel.double(), density / density.sum(), rtol=0, atol=2e-6)


def test_batches():
    sigma, theta = torch.tensor([0.5, 1.0, 2.0]), torch.tensor([0.1, 0.2, 0.3])
    batch = gaussian_kernel(9, sigma, 1.5, theta)
    assert batch.shape == (3, 9, 9)
    for one, s, t in zip(batch, sigma.tolist(), theta.tolist(), strict=True):
        torch.testing.assert_close(one, gaussian_kernel(9, s, 1.5, t), rtol=0, atol=1e-6)
    assert gaussian_kernel(9, torch.rand(0)).shape == (0, 9, 9)


@pytest.mark.parametrize("arguments", [(0.0,), (0.0, 0.0, 0.7)])
def test_width_0_is_the_identity(arguments: tuple[float, ...]):
    expected = torch.zeros(5, 5)
    expected[2, 2] = 1
    assert torch.equal(gaussian_kernel(5, *arguments), expected)


@pytest.mark.parametrize(
    "arguments", [(1e-3, 40, 1.3), (0, 4, 0.5), (1e-3, 1e-3, 2.0), (1e4, 1e-2, 0.8), (1e30, 1e30), (2, 1e39, 1e308)]
)
def test_extreme_widths_stay_finite(arguments: tuple[float, ...]):
    kernel = gaussian_kernel(21, *arguments)
    assert torch.isfinite(kernel).all()
    assert (kernel >= 0).all()
    assert kernel.sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "arguments",
    [
        (0, 1.0),
        (5, -1.0),
        (5, math.nan),
        (5, 1.0, math.inf),
        (5, 1.0, 1.0, math.nan),
        ("5", 1.0),
        (5, "1"),
        (5, np.float32("nan")),
        (5, None),
        (5, 1.0, None, None),
        (5, torch.tensor([1.0, math.nan])),
        (5, torch.tensor([1.0, -1.0])),
        (5, 1.0, torch.tensor([math.inf])),
        (5, 1.0, 1.0, torch.tensor([math.nan])),
        (5, torch.ones(2, 3)),
        (5, torch.ones(2), torch.ones(3)),
    ],
)
def test_wrong_arguments(arguments: tuple[float, ...]):
    with pytest.raises(ValueError, match="gaussian_kernel: "):
        gaussian_kernel(*arguments)
