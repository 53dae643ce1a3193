import math

import numpy as np
import pytest
import scipy.special
import torch
import torch.nn.functional as F

from dasr_fast.degradation.blur import FORMS, Blur, blur_kernel, blurred, sinc_kernel
from dasr_fast.degradation.part import Draws


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize(("size", "sigma_x", "sigma_y", "theta", "beta"), [(21, 2.5, 0.6, 0.7, 0.5), (7, 3, 3, 0, 1.7)])
def test_kernels_are_their_formulas(form: int, size: int, sigma_x: float, sigma_y: float, theta: float, beta: float):
    settings = [torch.tensor([x]) for x in (size, sigma_x, sigma_y, theta, form, beta)]
    found = blur_kernel(*settings, grid=25)[0]
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    expected = np.zeros((25, 25))
    for y in range(-(size // 2), size // 2 + 1):
        for x in range(-(size // 2), size // 2 + 1):
            d = np.array([x, y]) @ inverse @ np.array([x, y])
            expected[y + 12, x + 12] = {
                "gaussian": math.exp(-0.5 * d),
                "generalized": math.exp(-0.5 * d**beta),
                "plateau": 1 / (1 + d**beta),
            }[FORMS[form]]
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5, atol=1e-9)


def test_kernels_of_no_width_do_nothing():
    zero, one = torch.zeros(1), torch.ones(1)
    kernel = blur_kernel(torch.tensor([7]), zero, zero, zero, torch.tensor([0]), one, 21)[0]
    assert kernel[10, 10] == 1
    assert kernel.sum() == 1


def test_sinc_is_its_formula():
    size, cutoff = torch.tensor([7, 21]), torch.tensor([2.5, 0.8])
    found = sinc_kernel(size, cutoff, 21)
    y, x = np.mgrid[-10:11, -10:11]
    radius = np.hypot(x, y)
    for kernel, n, c in zip(found, (7, 21), (2.5, 0.8), strict=True):
        radius[10, 10] = 1e-9
        expected = c * scipy.special.j1(c * radius) / (2 * np.pi * radius)
        expected *= np.maximum(abs(x), abs(y)) <= n // 2
        np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-4, atol=1e-7)


def test_every_sample_is_correlated_with_its_kernel():
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 3, 30 + i % 2, 40, generator=generator) * 255 for i in range(8)]
    sigma = torch.linspace(0.3, 3, 8)
    kind = torch.arange(8) % 3
    kernel = blur_kernel(torch.full((8,), 21), sigma, sigma, torch.zeros(8), kind, torch.full((8,), 1.5), 21)
    where = torch.arange(8) != 5
    found = blurred(images, kernel, where, kind == 0)
    for i, (image, result) in enumerate(zip(images, found, strict=True)):
        padded = F.pad(image.double(), (10, 10, 10, 10), mode="reflect").flatten(0, 1)[:, None]
        expected = F.conv2d(padded, kernel[i].double()[None, None]).view_as(image)
        if i == 5:
            assert torch.equal(result, image)
        else:
            assert (result - expected).abs().max() < 0.01


def test_kernels_larger_than_the_image_are_cut():
    image = torch.full((1, 3, 5, 8), 77.0)
    kernel = torch.full((1, 21, 21), 1 / 441)
    result = blurred([image], kernel)[0]
    torch.testing.assert_close(result, image)


def test_probability_of_blur():
    image = torch.rand(1, 3, 24, 24) * 255
    part = Blur((2.0, 2.0), probability=0.0)
    drawn = part.draw(Draws(1, (24, 24), 1, None, torch.device("cpu")))
    assert torch.equal(part.degrade([image], drawn)[0], image)
    assert part.describe(drawn).abs().max() == 0
