import copy
import re
import warnings

import numpy as np
import pytest
import torch
from golden import arrays, fill
from numpy.typing import NDArray
from torch import Tensor

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.images import Picture
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.noise import noise_level
from dasr_fast.inference.pictures import PictureWarning, comparison, upscale
from dasr_fast.models import BlindSR

MODEL = fill(BlindSR(2, groups=1, blocks=1)).eval()
ENGINE = Engine(MODEL)


def picture(height: int, width: int, channels: int = 3, dtype: type = np.uint8, *, alpha: bool = False) -> Picture:
    random = np.random.default_rng([height, width])  # The same whichever tests came before.

    def pixels(*shape: int) -> NDArray[np.generic]:
        return random.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)

    plane = pixels(height, width) if alpha else None
    return Picture(pixels(height, width, channels), plane, {"kept": (0, 1)}, (2.0, 3.0))


@torch.no_grad()
def continued(lr: Tensor, v: Tensor | None = None) -> Tensor:
    """What the small network makes of `lr` with its outermost pixels repeated by NumPy, but for those."""

    def repeated(*sides: tuple[int, int]) -> Tensor:
        return torch.from_numpy(np.pad(lr.numpy(), ((0, 0), (0, 0), *sides), mode="edge"))

    if v is None:
        lacking = [max(0, 32 - length) for length in lr.shape[2:]]
        v = MODEL.encode(repeated(*((n // 2, n - n // 2) for n in lacking)))
    return MODEL.restore(repeated((8, 8), (8, 8)), v)[:, :, 16:-16, 16:-16]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("tile", ["auto", 64])
def test_pictures_of_all_kinds(channels: int, dtype: type, tile: int | str):
    lr = picture(300, 9, channels, dtype, alpha=True)
    sr = upscale(ENGINE, lr, tile=tile)
    expected = lr.replaced(continued(lr.rgb()), bicubic_upsample(lr.alpha_plane(), 2))
    assert sr.pixels.dtype == sr.alpha.dtype == dtype
    assert (sr.metadata, sr.resolution) == (lr.metadata, lr.resolution)
    # A number between two grey levels may be rounded either way.
    difference = np.abs(sr.pixels.astype(int) - expected.pixels)
    assert difference.max() <= 1
    assert np.mean(difference > 0) < (0.05 if dtype is np.uint16 else 0.001)
    np.testing.assert_array_equal(sr.alpha, expected.alpha)


def test_progress_by_tiles():
    shares: list[float] = []
    upscale(ENGINE, picture(80, 150, 3, np.uint8), tile=64, progress=shares.append)
    assert len(shares) > 4
    assert (shares, shares[-1]) == (sorted(shares), 1)


@pytest.mark.parametrize("size", [(40, 33), (32, 32), (31, 40), (5, 90), (1, 1)])
def test_edges_are_continued(size: tuple[int, int]):
    lr = picture(*size)
    difference = upscale(ENGINE, lr).pixels.astype(float) - lr.replaced(continued(lr.rgb()), None).pixels
    assert np.abs(difference).max() <= 1
    assert np.mean(difference != 0) < 0.001


def test_a_mean_representation_where_the_own_one_fails():
    lr = picture(40, 33)
    mean = MODEL.encode(lr.rgb()).detach()[0]
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model.E.encoder_q.E[-3].bias.add_(1e30)  # Of the last batch normalisation.
    model.G.bounds = torch.stack((mean - 1e30, mean, mean + 1e30))
    with pytest.warns(PictureWarning, match=r"^It was restored with a mean representation, since [^\n]*\.$"):
        sr = upscale(Engine(model), lr)
    assert np.abs(sr.pixels - lr.replaced(continued(lr.rgb(), mean[None]), None).pixels.astype(float)).max() <= 1


@pytest.mark.parametrize("bounded", [False, True])
@pytest.mark.filterwarnings("ignore::dasr_fast.inference.pictures.PictureWarning")
def test_a_result_far_outside_of_the_range_is_refused(bounded: bool):
    model = copy.deepcopy(MODEL)
    with torch.no_grad():
        model.G.tail[1].bias.add_(1000)
    if bounded:
        mean = torch.zeros(256)
        model.G.bounds = torch.stack((mean - 1, mean, mean + 1))
    with pytest.raises(RuntimeError, match=r"^The network's result lies far outside of the picture's range[^\n]*\.$"):
        upscale(Engine(model), picture(8, 9))


def told(model: BlindSR, lr: Picture) -> list[str]:
    """What upscaling warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        upscale(Engine(model), lr)
    assert all(warning.category is PictureWarning for warning in caught)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("trained", "noise", "message"),
    [
        (0.0, 0.0, None),
        (0.0, 20.0, "noise of 1[4-9] grey levels or more, and the weights were trained without noise"),
        (5.0, 20.0, "trained with noise of up to 5"),
        (25.0, 20.0, None),
        (None, 20.0, None),
    ],
)
def test_noise_that_the_weights_do_not_know(trained: float | None, noise: float, message: str | None):
    model = copy.deepcopy(MODEL)
    model.noise = trained
    lr = np.linspace(30, 225, 64)[None, :, None] + np.random.default_rng(0).normal(0, noise, (64, 64, 3))
    found = told(model, Picture(lr.round().clip(0, 255).astype(np.uint8)))
    assert len(found) == (message is not None)
    assert message is None or re.search(message, found[0])


@pytest.mark.parametrize("known", [True, False])
def test_embeddings_outside_of_the_bounds_are_told(known: bool):
    lr = picture(40, 40)
    model = copy.deepcopy(MODEL)
    v = MODEL.encode(lr.rgb()).detach()[0]
    model.G.bounds = torch.stack((v - 3, v - 1, v + (1 if known else -0.5)))
    unlike = "The result may be poor: it is unlike the images that the weights were trained with."
    assert told(model, lr) == ([] if known else [unlike])


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
