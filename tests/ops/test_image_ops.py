from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast import ops, reference
from dasr_fast.ops.resize import MODES
from tests.specification import backends_on_cpu

BACKENDS_HERE = backends_on_cpu("resize")  # Triton's JPEG has tests of its own.
KERNELS_HERE = [name for name in BACKENDS_HERE if name != "reference"]
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}
"""Largest error, as a part of the largest number: a few units of the result's last bit."""

length = st.integers(1, 70)


@pytest.mark.parametrize("backend", KERNELS_HERE)
@settings(deadline=None, max_examples=80)
@given(
    patches=st.sampled_from([None, 0, 1, 2]),
    old=st.tuples(length, length),
    new=st.tuples(length, length),
    mode=st.sampled_from(MODES),
    antialias=st.booleans(),
    dtype=st.sampled_from(list(ROUNDING)),
    channels_last=st.booleans(),
)
def test_resize(
    backend: str, patches: int | None, old: Any, new: Any, mode: str, antialias: bool, dtype: Any, channels_last: bool
):
    shape = (2, 3, *old) if patches is None else (2, patches, 3, *old)
    image = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 255).to(dtype)
    if channels_last and patches is None:
        image = image.contiguous(memory_format=torch.channels_last)
    y = ops.resize(image, new, mode, antialias=antialias, backend=backend)
    expected = reference.resize(image.double(), *new, mode, antialias)
    assert (y.dtype, y.shape) == (dtype, expected.shape)
    layout = torch.channels_last if channels_last and patches is None else torch.contiguous_format
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=255 * ROUNDING[dtype])


@pytest.mark.parametrize("backend", KERNELS_HERE)
def test_resize_of_slices(backend: str):
    image = torch.rand(2, 3, 20, 40)[:, 1:, ::2, 3:30]
    expected = reference.resize(image, 7, 31, "bicubic", False)
    torch.testing.assert_close(ops.resize(image, (7, 31), "bicubic", backend=backend), expected)


def test_gradient_of_resize():
    image = torch.rand(2, 3, 16, 16, requires_grad=True)
    direction = torch.randn(2, 3, 9, 20)
    (found,) = torch.autograd.grad(ops.resize(image, (9, 20), "bicubic"), image, direction)
    (expected,) = torch.autograd.grad(reference.resize(image, 9, 20, "bicubic", False), image, direction)
    assert torch.equal(found, expected)
    compiled = torch.compile(ops.resize, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        expected = reference.resize(image, 9, 20, "area", False)
        torch.testing.assert_close(compiled(image, (9, 20), "area"), expected, rtol=0, atol=1e-5)


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Whole and other numbers, some of them outside of 0 to 255."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator) * 300 - 20


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@settings(deadline=None, max_examples=40)
@given(
    batch=st.integers(0, 3),
    patches=st.sampled_from([None, 1, 2]),
    height=st.integers(1, 70),
    width=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.uint8]),
    channels_last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_jpeg(
    backend: str, batch: int, patches: int | None, height: int, width: int, dtype: Any, channels_last: bool, seed: int
):
    shape = (batch, 3, height, width) if patches is None else (batch, patches, 3, height, width)
    image = images(*shape, seed=seed).clamp(0, 255).to(dtype)
    if channels_last and patches is None:
        image = image.contiguous(memory_format=torch.channels_last)
    generator = torch.Generator().manual_seed(seed)
    quality = torch.randint(1, 101, (batch,), generator=generator).float()
    subsampling = torch.randint(0, 3, (batch,), generator=generator)
    y = ops.jpeg(image, quality, subsampling=subsampling, backend=backend)
    assert (y.dtype, y.shape, y.stride()) == (dtype, image.shape, torch.empty_like(image).stride())
    assert torch.equal(y, reference.jpeg(image.double(), quality, subsampling).to(dtype))


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_jpeg_of_large_images_in_bands(backend: str):
    image, quality = images(1, 3, 700, 90), torch.tensor([40.0])
    for subsampling in range(3):
        expected = reference.jpeg(image, quality, torch.tensor([subsampling]))
        assert torch.equal(ops.jpeg(image, 40, subsampling=subsampling, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_jpeg_of_infinite_and_undefined_numbers(backend: str):
    image = images(1, 3, 9, 9)
    image[0, 0, 3, 3], image[0, 1, 4, 4] = torch.nan, torch.inf
    same = image.clone()
    same[0, 0, 3, 3], same[0, 1, 4, 4] = 0, 255
    assert torch.equal(ops.jpeg(image, 90, backend=backend), ops.jpeg(same, 90, backend=backend))


def test_gradient_of_jpeg():
    image = images(2, 3, 16, 16).requires_grad_()
    quality, subsampling = torch.tensor([20.0, 90.0]), torch.tensor([2, 0])
    direction = torch.randn(2, 3, 16, 16)
    (found,) = torch.autograd.grad(ops.jpeg(image, quality, subsampling=subsampling), image, direction)
    (expected,) = torch.autograd.grad(reference.jpeg(image, quality, subsampling), image, direction)
    assert torch.equal(found, expected)
    compiled = torch.compile(ops.jpeg, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        y = compiled(image, quality, subsampling=subsampling)
        assert torch.equal(y, reference.jpeg(image, quality, subsampling))
