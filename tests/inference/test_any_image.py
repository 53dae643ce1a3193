from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import dasr_fast
from dasr_fast import inference
from dasr_fast.images import Picture
from dasr_fast.inference.any_image import shared_engine
from dasr_fast.inference.pictures import upscale as upscale_picture


@pytest.fixture
def upscale(weights: Path) -> Callable[..., Any]:
    return partial(dasr_fast.upscale, weights=str(weights), device="cpu")


def pixels(channels: int, depth: Any = np.uint8) -> np.ndarray:
    random = np.random.default_rng(0)
    return random.integers(0, np.iinfo(depth).max, (12, 17, channels), depth, endpoint=True)


def expected(weights: Path, image: np.ndarray, alpha: np.ndarray | None = None) -> Picture:
    return upscale_picture(shared_engine(str(weights), "cpu"), Picture(image, alpha))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_arrays(upscale: Callable[..., Any], weights: Path, depth: Any):
    image = pixels(4, depth)
    picture = expected(weights, np.ascontiguousarray(image[..., :3]), np.ascontiguousarray(image[..., 3]))
    np.testing.assert_array_equal(upscale(image), np.dstack((picture.pixels, picture.alpha)))
    np.testing.assert_array_equal(upscale(np.ascontiguousarray(image[..., :3])), picture.pixels)
    grey = expected(weights, np.ascontiguousarray(image[..., :1])).pixels
    np.testing.assert_array_equal(upscale(image[..., :1]), grey)
    np.testing.assert_array_equal(upscale(image[..., 0]), grey[..., 0])


def test_numbers_from_0_to_1(upscale: Callable[..., Any], weights: Path):
    whole = pixels(3, np.uint16)
    right = expected(weights, whole).pixels / 65535
    for dtype in (np.float32, np.float64):
        result = upscale((whole / 65535).astype(dtype))
        assert result.dtype == dtype
        np.testing.assert_allclose(result, right, rtol=0, atol=1e-6)
    tensor = torch.from_numpy(whole / 65535).permute(2, 0, 1)
    result = upscale(torch.stack((tensor, tensor.flip(1))).half())
    assert (result.dtype, list(result.shape)) == (torch.float16, [2, 3, 24, 34])
    np.testing.assert_allclose(result[0].permute(1, 2, 0).numpy(), right, rtol=0, atol=2e-2)
    assert list(upscale(tensor[:1]).shape) == [1, 24, 34]
    assert list(upscale(torch.empty(0, 3, 5, 6)).shape) == [0, 3, 10, 12]


def test_tensors_of_whole_numbers(upscale: Callable[..., Any]):
    image = pixels(3)
    result = upscale(torch.from_numpy(image).permute(2, 0, 1))
    np.testing.assert_array_equal(result.permute(1, 2, 0).numpy(), upscale(image))


@pytest.mark.parametrize(
    ("mode", "becomes"),
    [("L", "L"), ("LA", "LA"), ("RGB", "RGB"), ("RGBA", "RGBA"), ("P", "RGB"), ("CMYK", "RGB"), ("1", "RGB")],
)
def test_pillow_images(upscale: Callable[..., Any], mode: str, becomes: str):
    image = Image.fromarray(pixels(3)).convert(mode)
    result = upscale(image)
    assert (result.mode, result.size) == (becomes, (34, 24))
    array = np.asarray(image.convert(becomes))
    if mode == "LA":  # Which is no array of ours.
        rgba = upscale(np.dstack((array[..., :1].repeat(3, 2), array[..., 1])))
        np.testing.assert_array_equal(np.asarray(result)[..., 1], rgba[..., 3])
        array, result = array[..., 0], result.getchannel("L")
    np.testing.assert_array_equal(np.asarray(result), upscale(array))


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_pillow_images_of_16_bits(upscale: Callable[..., Any], mode: str):
    image = pixels(1, np.uint16)[..., 0]
    stored = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    result = upscale(Image.frombytes(mode, (17, 12), image.astype(stored).tobytes()))
    assert result.mode == ("I" if mode == "I" else "I;16")
    np.testing.assert_array_equal(np.asarray(result), upscale(image))


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (Image.new("F", (5, 4)), ValueError, "of mode F must hold whole numbers in 0 to 65535"),
        (Image.new("I", (5, 4), 65536), ValueError, "of mode I must hold whole numbers in 0 to 65535"),
        ("photo.png", TypeError, "must be a Pillow image, an array or a tensor; got str"),
        (np.zeros((4, 5, 2), np.uint8), ValueError, r"\[H, W, C\] with C 1, 3 or 4; got \[4, 5, 2\]"),
        (np.zeros((4, 5), np.int64), TypeError, "uint8, uint16 or floating point; got int64"),
        (np.full((4, 5), 200.0), ValueError, "floating-point images are 0 to 1; got 200 to 200"),
        (np.full((4, 5), np.nan), ValueError, "floating-point images are 0 to 1"),
        (torch.zeros(2, 4, 5), ValueError, r"with C 1 or 3; got \[2, 4, 5\]"),
        (torch.zeros(3, 4, 5, dtype=torch.int64), TypeError, "uint8 or floating point; got int64"),
    ],
)
def test_anything_else(upscale: Callable[..., Any], image: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        upscale(image)


def test_scale_and_weights(upscale: Callable[..., Any]):
    assert upscale(pixels(3), scale=2).shape == (24, 34, 3)
    with pytest.raises(ValueError, match="are weights for scale 2; got scale 3"):
        upscale(pixels(3), scale=3)
    with pytest.raises(FileNotFoundError, match="No weights at x5"):
        dasr_fast.upscale(pixels(3), 5)
    assert shared_engine("x2", "cpu") is shared_engine("x2", "cpu")
    assert dasr_fast.upscale(np.full((12, 17, 3), 99, np.uint8), 2, device="cpu").shape == (24, 34, 3)


def test_names_that_moved_are_still_in_inference():
    assert inference.accelerate is dasr_fast.accelerate
    assert inference.report is dasr_fast.acceleration.report
    assert inference.export_onnx is dasr_fast.export.export_onnx
    assert all(callable(getattr(inference, name)) for name in inference.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'engines'"):
        inference.engines  # noqa: B018
