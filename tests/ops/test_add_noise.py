from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast import ops, reference
from dasr_fast.reference.add_noise import luma
from tests.specification import backends_on_cpu

KERNELS_HERE = [name for name in backends_on_cpu("add_noise") if name != "reference"]
ROUNDING = {torch.float32: 1e-6, torch.float16: 1e-3, torch.bfloat16: 1e-2}
"""Largest error, as a part of the largest number: a few units of the result's last bit."""


def draw(*shape: int, channels: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=generator) * 280 - 10
    noise = torch.randn((*shape[:-3], channels, *shape[-2:]), generator=generator)
    return image.to(dtype), noise.to(dtype)


@pytest.mark.parametrize("backend", KERNELS_HERE)
@settings(deadline=None, max_examples=60)
@given(
    patches=st.sampled_from([None, 0, 1, 2]),
    channels=st.sampled_from([1, 3, 4]),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    grey=st.booleans(),
    poisson=st.booleans(),
    dtype=st.sampled_from(list(ROUNDING)),
    channels_last=st.booleans(),
)
def test_equal_to_the_reference(
    backend: str,
    patches: int | None,
    channels: int,
    size: tuple[int, int],
    grey: bool,
    poisson: bool,
    dtype: Any,
    channels_last: bool,
):
    shape = (2, channels, *size) if patches is None else (2, patches, channels, *size)
    image, noise = draw(*shape, channels=1 if grey else channels, dtype=dtype)
    if channels_last and patches is None:
        image = image.contiguous(memory_format=torch.channels_last)
    y = ops.add_noise(image, noise, 0.7, poisson, backend=backend)
    expected = reference.add_noise(image.double(), noise.double(), 0.7, poisson)
    assert y.dtype == dtype
    assert y.shape == image.shape
    assert y.stride() == torch.empty_like(image).stride()
    error = (y.double() - expected).abs()
    tolerance = 255 * ROUNDING[dtype]
    if poisson:  # Where a mean or a count is on the edge, float32 may round it to the next: a count, and a mean's step.
        light = luma(image.double()) if noise.shape[-3] == 1 else image.double()
        steady = ((light - light.floor() - 0.5).abs() > 1e-3).expand_as(error)
        assert (error[steady] > tolerance).sum() <= 1 + error.numel() // 1000
        assert error.numel() == 0 or error.max() <= 2 * 0.7 + tolerance
    else:
        assert (error <= tolerance).all()


@pytest.mark.parametrize("backend", KERNELS_HERE)
def test_large_images_and_slices(backend: str):
    image, noise = draw(2, 3, 150, 131, channels=3)
    expected = reference.add_noise(image[:, :, ::2, 1:], noise[..., ::2, 1:], 20.0, False)
    found = ops.add_noise(image[:, :, ::2, 1:], noise[..., ::2, 1:], 20.0, backend=backend)
    torch.testing.assert_close(found, expected, rtol=0, atol=3e-5)


def test_gradient_and_compile():
    image, noise = draw(2, 3, 9, 8, channels=3)
    image.requires_grad_()
    for poisson in (False, True):
        y = ops.add_noise(image, noise, 2.0, poisson)
        (found,) = torch.autograd.grad(y.sum(), image)
        assert torch.equal(found, ((y > 0) & (y < 255)).float())
    compiled = torch.compile(ops.add_noise, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(image, noise, 2.0), ops.add_noise(image, noise, 2.0))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((None, torch.zeros(1), 1.0), TypeError, "image must be a tensor; got NoneType"),
        ((torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), 1.0), ValueError, "image must be .*; got .3, 8, 8"),
        ((torch.zeros(1, 3, 8, 8), torch.zeros(1, 2, 8, 8), 1.0), ValueError, "noise must be .*; got .1, 2, 8, 8."),
        ((torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8).half(), 1.0), TypeError, "noise must be float32"),
        ((torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), "much"), TypeError, "level must be a number; got 'much'"),
        ((torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8, requires_grad=True), 1.0), ValueError, "has no gradient"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        ops.add_noise(*arguments)
