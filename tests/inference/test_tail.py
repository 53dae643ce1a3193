from functools import cache

import pytest
import torch
from golden import error
from hypothesis import given, settings
from hypothesis import strategies as st
from tails import tail_layers
from torch import nn

from dasr_fast.inference.tail import Tail


@cache
def layers_and_tail(scale: int, gain: float) -> tuple[list[nn.Module], Tail]:
    layers = tail_layers(scale)
    return layers, Tail(layers, torch.float64, gain)


@settings(deadline=None, max_examples=60)
@given(
    scale=st.sampled_from([2, 3, 4]),
    batch=st.integers(0, 2),
    height=st.integers(1, 8),
    width=st.integers(1, 8),
    gain=st.sampled_from([1.0, 2.0**-5]),
)
def test_every_pixel_of_every_size(scale: int, batch: int, height: int, width: int, gain: float):
    layers, tail = layers_and_tail(scale, gain)
    x = torch.randn(batch, 4, height, width, dtype=torch.float64)
    with torch.no_grad():
        expected = nn.Sequential(*layers)(x)
        result = tail(x * gain)
    assert result.shape == expected.shape == (batch, 3, height * scale, width * scale)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-12 * (1 + expected.abs().sum()))


@pytest.mark.parametrize("kernel_size", [1, 5])
def test_other_kernels(kernel_size: int):
    layers = tail_layers(2, kernel_size=kernel_size)
    x = torch.randn(1, 4, 6, 5, dtype=torch.float64)
    with torch.no_grad():
        assert error(Tail(layers, torch.float64, 0.5)(x / 2), nn.Sequential(*layers)(x)) < 1e-13


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_types_and_formats(dtype: torch.dtype, tolerance: float, memory_format: torch.memory_format):
    layers = tail_layers(4)
    x = torch.randn(2, 4, 6, 5).to(dtype, memory_format=memory_format)
    with torch.no_grad():
        expected = nn.Sequential(*layers)(x.double())
        result = Tail(layers, dtype)(x)
    assert result.dtype == torch.float32
    assert result.is_contiguous()
    assert error(result, expected) < tolerance


def test_later_changes_of_the_layers_do_not_matter():
    layers = tail_layers(3)
    tail = Tail(layers, torch.float64)
    x, tiny = torch.randn(1, 4, 6, 5, dtype=torch.float64), torch.randn(1, 4, 2, 5, dtype=torch.float64)
    with torch.no_grad():
        expected = nn.Sequential(*layers)(x), nn.Sequential(*layers)(tiny)
        for layer in layers:
            for parameter in layer.parameters():
                parameter.zero_()
        assert error(tail(x), expected[0]) < 1e-13
        assert error(tail(tiny), expected[1]) < 1e-13
