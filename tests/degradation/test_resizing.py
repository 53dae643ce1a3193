import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from dasr_fast.degradation.part import Draws
from dasr_fast.degradation.resizing import MODES, Resize, resize

SIZES = [(40, 30), (17, 11), (60, 45), (41, 59), (3, 200), (1, 1)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES)
def test_it_is_that_of_pytorch(mode: str, size: tuple[int, int]):
    images = torch.rand(2, 3, 40, 30, dtype=torch.float64) * 255
    expected = F.interpolate(images, size, mode=mode)
    torch.testing.assert_close(resize(images, size, mode), expected, rtol=0, atol=1e-4)
    assert (resize(images.float(), size, mode) - expected).abs().max() < 1e-3


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 30), (17, 11), (10, 7), (41, 59)])
def test_antialiased_it_is_that_of_pillow(mode: str, size: tuple[int, int]):
    image = np.random.default_rng(0).uniform(0, 255, (40, 30)).astype(np.float32)
    expected = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling[mode.upper()]))
    found = resize(torch.from_numpy(image)[None, None], size, mode, antialias=True)[0, 0]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_area_by_a_whole_factor_is_the_mean_of_squares():
    images = torch.rand(1, 2, 12, 16)
    expected = images.unfold(2, 4, 4).unfold(3, 4, 4).mean((-2, -1))
    torch.testing.assert_close(resize(images, (3, 4), "area"), expected)


def test_every_sample_gets_its_size():
    part = Resize(((0.5, (0.2, 1.0)), (0.5, (1.0, 2.0))))
    draws = Draws(20, (30, 40), 2, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = part.draw(draws)
    images = [torch.rand(1, 3, 30, 40) for _ in range(20)]
    numbers = drawn.numbers
    for image, result, factor, mode in zip(
        images, part.degrade(images, drawn), numbers["factor"].double(), numbers["mode"].tolist(), strict=True
    ):
        size = int(30 * factor), int(40 * factor)
        assert tuple(result.shape[-2:]) == size
        torch.testing.assert_close(result, resize(image, size, MODES[mode]))
    assert draws.sizes.tolist() == numbers["size"].tolist()
    torch.testing.assert_close(part.describe(drawn)[:, 0], numbers["factor"].log2())


def test_a_factor_of_the_lr_size():
    part = Resize(((1.0, (0.5, 0.5)),), of_lr=True)
    drawn = part.draw(Draws(2, (82, 40), 4, None, torch.device("cpu")))
    assert drawn.numbers["size"].tolist() == [[10, 5]] * 2  # 82 / 4 / 2 rows
    assert part.describe(drawn).shape == (2, 0)
