from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast import ops, reference
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS
from dasr_fast.ops.resize import MODES

KERNELS_HERE = [
    name
    for name, backend in BACKENDS.items()
    if backend.device == "cpu" and not isinstance(IMPLEMENTATIONS["resize", name], str)
]
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
def test_equal_to_the_reference(
    backend: str,
    patches: int | None,
    old: tuple[int, int],
    new: tuple[int, int],
    mode: str,
    antialias: bool,
    dtype: Any,
    channels_last: bool,
):
    shape = (2, 3, *old) if patches is None else (2, patches, 3, *old)
    image = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 255).to(dtype)
    if channels_last and patches is None:
        image = image.contiguous(memory_format=torch.channels_last)
    y = ops.resize(image, new, mode, antialias=antialias, backend=backend)
    expected = reference.resize(image.double(), *new, mode, antialias)
    assert y.dtype == dtype
    assert y.shape == expected.shape
    layout = torch.channels_last if channels_last and patches is None else torch.contiguous_format
    assert y.is_contiguous(memory_format=layout)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=255 * ROUNDING[dtype])


@pytest.mark.parametrize("backend", KERNELS_HERE)
def test_images_that_are_slices(backend: str):
    image = torch.rand(2, 3, 20, 40)[:, 1:, ::2, 3:30]
    expected = reference.resize(image, 7, 31, "bicubic", False)
    torch.testing.assert_close(ops.resize(image, (7, 31), "bicubic", backend=backend), expected)


def test_gradient_and_compile():
    image = torch.rand(2, 3, 16, 16, requires_grad=True)
    direction = torch.randn(2, 3, 9, 20)
    (found,) = torch.autograd.grad(ops.resize(image, (9, 20), "bicubic"), image, direction)
    (expected,) = torch.autograd.grad(reference.resize(image, 9, 20, "bicubic", False), image, direction)
    assert torch.equal(found, expected)
    compiled = torch.compile(ops.resize, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(
            compiled(image, (9, 20), "area"), reference.resize(image, 9, 20, "area", False), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, (4, 4), "area"), TypeError, "image must be a tensor; got NoneType"),
        ((torch.zeros(3, 8, 8), (4, 4), "area"), ValueError, "image must be .* or .B, C, H, W.; got .3, 8, 8."),
        ((torch.zeros(1, 3, 0, 8), (4, 4), "area"), ValueError, "image must be .*; got .1, 3, 0, 8."),
        ((torch.zeros(1, 3, 8, 8).byte(), (4, 4), "area"), TypeError, "image must be float32"),
        ((torch.zeros(1, 3, 8, 8), (4, 0), "area"), ValueError, r"size must be two whole numbers .*; got \(4, 0\)"),
        ((torch.zeros(1, 3, 8, 8), 4, "area"), ValueError, "size must be two whole numbers of at least 1; got 4"),
        ((torch.zeros(1, 3, 8, 8), (4, 4), "nearest"), ValueError, "mode must be area, .*; got 'nearest'"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        ops.resize(*arguments)
