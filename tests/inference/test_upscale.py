import copy

import numpy as np
import pytest
import torch
from golden import fill
from numpy.typing import NDArray

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.images import Picture
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.upscale import comparison, upscale
from dasr_fast.models import BlindSR

MODEL = fill(BlindSR(2, groups=1, blocks=1)).eval()
ENGINE = Engine(MODEL)
RANDOM = np.random.default_rng(0)


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8, *, alpha: bool = False) -> Picture:
    def pixels(*shape: int) -> NDArray[np.generic]:
        return RANDOM.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)

    return Picture(
        pixels(height, width, channels), pixels(height, width) if alpha else None, {"kept": (0, 1)}, (2.0, 3.0)
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", ["auto", 64])
def test_pictures_of_all_kinds(channels: int, dtype: type, tile: int | str):
    lr = picture(70, 9, channels, dtype, alpha=True)
    sr = upscale(ENGINE, lr, tile=tile)
    with torch.no_grad():
        expected = lr.replaced(MODEL(lr.rgb()), bicubic_upsample(lr.alpha_plane(), 2))
    assert sr.pixels.dtype == sr.alpha.dtype == dtype
    assert (sr.metadata, sr.resolution) == (lr.metadata, lr.resolution)
    # A number between two grey levels may be rounded either way.
    difference = np.abs(sr.pixels.astype(int) - expected.pixels)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < (0.05 if dtype is np.uint16 else 0.001)
    np.testing.assert_array_equal(sr.alpha, expected.alpha)


def test_alpha_in_strips_is_bicubic():
    lr = picture(300, 5, alpha=True)
    sr = upscale(ENGINE, lr)
    expected = lr.replaced(bicubic_upsample(lr.tensor(), 2), bicubic_upsample(lr.alpha_plane(), 2))
    np.testing.assert_array_equal(sr.alpha, expected.alpha)


def test_a_result_that_is_not_finite_is_refused():
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model.G.head[0].weight.fill_(3e38)
    with pytest.raises(RuntimeError, match=r"^The network's result holds NaN or infinity\.$"):
        upscale(Engine(model), picture(8, 9))


@pytest.mark.parametrize("channels", [1, 3])
def test_comparison(channels: int):
    lr = picture(9, 12, channels, np.uint16, alpha=True)
    sr = upscale(ENGINE, lr)
    shown = comparison(lr, sr)
    assert (shown.alpha, shown.metadata) == (None, lr.metadata)
    enlarged, bicubic, restored = np.split(shown.pixels, 3, axis=1)
    for shift in np.ndindex(2, 2):
        np.testing.assert_array_equal(enlarged[shift[0] :: 2, shift[1] :: 2], lr.pixels)
    np.testing.assert_array_equal(bicubic, lr.replaced(bicubic_upsample(lr.tensor(), 2), None).pixels)
    np.testing.assert_array_equal(restored, sr.pixels)


def test_comparison_of_a_large_picture_shows_its_centre():
    lr = picture(20, 31)
    sr = lr.replaced(bicubic_upsample(lr.tensor(), 2), None)
    enlarged, bicubic, restored = np.split(comparison(lr, sr, most=8).pixels, 3, axis=1)
    np.testing.assert_array_equal(enlarged[::2, ::2], lr.pixels[8:12, 13:17])
    np.testing.assert_array_equal(bicubic, sr.pixels[16:24, 26:34])
    np.testing.assert_array_equal(restored, sr.pixels[16:24, 26:34])
