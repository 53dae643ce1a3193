"""JPEG in Triton, interpreted or on a GPU, against the reference to the last bit, and against Pillow."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch
from interpretation import replace_once_a_launch

from dasr_fast import ops, reference
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS

off = isinstance(IMPLEMENTATIONS["jpeg", "triton"], str)
pytestmark = pytest.mark.skipif(off, reason="Triton kernels are off")


@pytest.fixture(autouse=True)
def few_programs(monkeypatch: pytest.MonkeyPatch):
    from dasr_fast.kernels import jpeg

    monkeypatch.setattr(jpeg, "BLOCKS", 32)
    if BACKENDS["triton"].device == "cpu":
        replace_once_a_launch(monkeypatch)


def by_triton(image: torch.Tensor, quality: torch.Tensor, subsampling: torch.Tensor) -> torch.Tensor:
    image, quality, subsampling = (x.to(BACKENDS["triton"].device) for x in (image, quality, subsampling))
    y = ops.jpeg(image, quality, subsampling=subsampling, backend="triton")
    assert (y.dtype, y.shape, y.stride()) == (image.dtype, image.shape, torch.empty_like(image).stride())
    return y.cpu()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 3, 21, 38), torch.float32),
        ((3, 1, 3, 17, 9), torch.float16),
        ((3, 3, 40, 3), torch.bfloat16),
        ((3, 3, 1, 26), torch.uint8),
        ((0, 3, 8, 8), torch.float32),
    ],
)
def test_agrees_with_the_reference(shape: tuple[int, ...], dtype: Any):
    image = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 300 - 20).clamp(0, 255).to(dtype)
    if image.dim() == 4:
        image = image.contiguous(memory_format=torch.channels_last)
    quality, subsampling = torch.tensor([7.0, 60.0, 98.0])[: len(image)], torch.arange(3)[: len(image)]
    expected = reference.jpeg(image.double(), quality, subsampling).to(dtype)
    assert torch.equal(by_triton(image, quality, subsampling), expected)


def test_infinite_and_undefined_numbers():
    image = torch.full((1, 3, 9, 9), 100.0)
    image[0, 0, 3, 3], image[0, 1, 4, 4], image[0, 2, 5, 5] = torch.nan, torch.inf, -torch.inf
    same = image.nan_to_num(0.0, 255.0, 0.0)
    quality, subsampling = torch.tensor([90.0]), torch.tensor([2])
    assert torch.equal(by_triton(image, quality, subsampling), reference.jpeg(same, quality, subsampling))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_agrees_with_pillow(subsampling: int):
    Image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).integers(0, 256, (27, 35, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file := BytesIO(), "JPEG", quality=75, subsampling=subsampling)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().contiguous()
    y = by_triton(image, torch.tensor([75.0]), torch.tensor([subsampling]))
    difference = np.abs(y[0].permute(1, 2, 0).numpy() - np.array(Image.open(file)))
    assert (difference <= 1).mean() >= 0.99
