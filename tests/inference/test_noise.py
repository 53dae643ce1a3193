import numpy as np
import pytest
import torch
from golden import arrays

from dasr_fast.inference.noise import noise_level

PHOTO = arrays("evaluation")["hr"].permute(2, 0, 1)[None].float()


@pytest.mark.parametrize("sigma", [5.0, 10.0, 25.0])
def test_noise_on_a_gradient(sigma: float):
    random = np.random.default_rng(0)
    image = np.linspace(90, 160, 128)[None, None, :] + random.normal(0, sigma, (3, 128, 128))
    assert 0.75 * sigma < noise_level(torch.from_numpy(image[None])) < sigma


def test_noise_on_a_photograph():
    noisy = PHOTO + 20 * torch.randn(PHOTO.shape)
    assert noise_level(PHOTO) < 7.5
    assert 12 < noise_level(noisy) < 22


@pytest.mark.parametrize("shape", [(1, 3, 1, 9), (1, 3, 9, 1), (1, 3, 1, 1), (1, 3, 2, 2), (1, 1, 9, 3)])
def test_small_and_flat_images(shape: tuple[int, ...]):
    assert noise_level(torch.full(shape, 200.0)) == 0


def test_stripes_are_no_noise():
    stripes = 255.0 * (torch.arange(32) % 2).expand(1, 3, 32, 32)
    assert noise_level(stripes) == 0
