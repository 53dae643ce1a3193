import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dasr_fast import reference
from dasr_fast.ops.resize import MODES

SIZES = [(40, 30), (17, 11), (60, 45), (41, 59), (3, 200), (1, 1)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_that_of_pytorch(mode: str, size: tuple[int, int]):
    image = torch.rand(2, 2, 40, 30, dtype=torch.float64) * 255
    expected = F.interpolate(image, size, mode=mode)
    torch.testing.assert_close(reference.resize(image, *size, mode, False), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 30), (17, 11), (10, 7), (41, 59), (9, 1), (1, 1)])
def test_antialiased_it_is_that_of_pillow(mode: str, size: tuple[int, int]):
    image = np.random.default_rng(0).uniform(0, 255, (40, 30)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[mode.upper()]))
    found = reference.resize(torch.from_numpy(image)[None, None], *size, mode, True)[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_area_by_a_whole_factor_is_the_mean_of_squares():
    image = torch.rand(1, 2, 12, 16)
    expected = image.unfold(2, 4, 4).unfold(3, 4, 4).mean((-2, -1))
    torch.testing.assert_close(reference.resize(image, 3, 4, "area", False), expected)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("antialias", [False, True])
def test_gradient(mode: str, antialias: bool):
    image = torch.rand(1, 2, 6, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: reference.resize(x, 4, 7, mode, antialias), image)
