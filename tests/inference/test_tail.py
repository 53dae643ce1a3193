from functools import cache

import pytest
import torch
import torch.nn.functional as F
from golden import error
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dasr_fast.inference.tail import Tail, collapse_tail
from dasr_fast.models import DASR


def tail_layers(scale: int, channels: int = 4, kernel_size: int = 3) -> list[nn.Module]:
    """The layers of a network's tail in float64, the addition of the mean with weights that mix colours."""
    network = DASR(scale, channels=channels, groups=1, blocks=1, kernel_size=kernel_size).double()
    torch.manual_seed(scale)
    for convolution in (*network.tail[0], network.tail[1], network.add_mean):
        for parameter in convolution.parameters():
            nn.init.normal_(parameter)
    return [*network.tail[0], network.tail[1], network.add_mean]


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


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_gradient_of_the_composition(scale: int):
    layers = nn.Sequential(*tail_layers(scale)).requires_grad_(True)
    x = torch.randn(1, 4, 5, 5, dtype=torch.float64)
    upstream = torch.randn(9, 3 * scale**2, dtype=torch.float64)
    weights, biases = collapse_tail(list(layers))
    pixels = F.pixel_unshuffle(layers(x), scale)[0]
    # The middle, then the ring, whose kernels meet the pixels around their own.
    padded = F.pad(x, (2, 2, 2, 2))[0]
    places = [(row, column) for row in (2, 0, 4) for column in (2, 0, 4)]
    windows = torch.stack([padded[:, row : row + 5, column : column + 5] for row, column in places])
    collapsed = torch.einsum("rochw,rchw->ro", weights, windows) + biases
    expected = torch.stack([pixels[:, row, column] for row, column in places])
    torch.testing.assert_close(collapsed, expected, rtol=1e-10, atol=1e-10)
    grads = torch.autograd.grad(collapsed, layers.parameters(), upstream)
    for grad, wanted in zip(grads, torch.autograd.grad(expected, layers.parameters(), upstream), strict=True):
        assert error(grad, wanted) < 1e-12


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
