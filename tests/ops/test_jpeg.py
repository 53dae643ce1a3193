from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast import ops, reference
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS

BACKENDS_HERE = [
    name
    for name, backend in BACKENDS.items()
    if backend.device in (None, "cpu") and not isinstance(IMPLEMENTATIONS["jpeg", name], str)
]


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
def test_equal_to_the_reference(
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
    assert y.dtype == dtype
    assert y.shape == image.shape
    assert y.stride() == torch.empty_like(image).stride()
    assert torch.equal(y, reference.jpeg(image.double(), quality, subsampling).to(dtype))


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_large_images_in_bands(backend: str):
    image, quality = images(1, 3, 700, 90), torch.tensor([40.0])
    for subsampling in range(3):
        expected = reference.jpeg(image, quality, torch.tensor([subsampling]))
        assert torch.equal(ops.jpeg(image, 40, subsampling=subsampling, backend=backend), expected)


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_infinite_and_undefined_numbers(backend: str):
    image = images(1, 3, 9, 9)
    image[0, 0, 3, 3], image[0, 1, 4, 4] = torch.nan, torch.inf
    same = image.clone()
    same[0, 0, 3, 3], same[0, 1, 4, 4] = 0, 255
    assert torch.equal(ops.jpeg(image, 90, backend=backend), ops.jpeg(same, 90, backend=backend))


def test_gradient_and_compile():
    image = images(2, 3, 16, 16).requires_grad_()
    quality, subsampling = torch.tensor([20.0, 90.0]), torch.tensor([2, 0])
    direction = torch.randn(2, 3, 16, 16)
    (found,) = torch.autograd.grad(ops.jpeg(image, quality, subsampling=subsampling), image, direction)
    (expected,) = torch.autograd.grad(reference.jpeg(image, quality, subsampling), image, direction)
    assert torch.equal(found, expected)
    compiled = torch.compile(ops.jpeg, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        assert torch.equal(
            compiled(image, quality, subsampling=subsampling), reference.jpeg(image, quality, subsampling)
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, 90), TypeError, "image must be a tensor; got NoneType"),
        ((torch.zeros(2, 1, 8, 8), 90), ValueError, "must be .* or .B, 3, H, W.; got .2, 1, 8, 8."),
        ((torch.zeros(2, 3, 8, 8), 0), ValueError, "quality must be a number from 1 to 100, or a tensor; got 0"),
        ((torch.zeros(2, 3, 8, 8), torch.ones(3)), ValueError, "quality must be"),
        ((torch.zeros(2, 3, 8, 8, dtype=torch.int64), 90), TypeError, "image must be float32"),
        ((torch.zeros(2, 3, 8, 8), 90, 3), ValueError, "subsampling must be 0, 1 or 2, or a tensor; got 3"),
        ((torch.zeros(2, 3, 8, 8), 90, torch.ones(2)), TypeError, "subsampling must hold whole numbers; got float32"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str):
    image, quality, *subsampling = arguments
    with pytest.raises(error, match=message):
        ops.jpeg(image, quality, **({"subsampling": subsampling[0]} if subsampling else {}))
