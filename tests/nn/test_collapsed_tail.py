import pytest
import torch
import torch.nn.functional as F
from golden import error
from tails import tail_layers
from torch import Tensor, nn

from dasr_fast.nn.collapsed_tail import collapse_tail, upsampled


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


def tail_and_mean(scale: int) -> tuple[nn.Sequential, nn.Module]:
    """A tail, nested as the released model's, and the addition of the mean, in float32."""
    *upsampler, conv, mean = tail_layers(scale)
    return nn.Sequential(nn.Sequential(*upsampler), conv).float(), mean.float().requires_grad_(False)


def results(tail: nn.Module, mean: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    """Images of the layers one after the other in float64, and gradients for features and parameters."""
    tail, mean, x = tail.double(), mean.double(), x.detach().double().requires_grad_()
    images = mean(tail(x))
    return images, *torch.autograd.grad(images.square().mean(), (x, *tail.parameters()))


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_images_and_gradients(scale: int, memory_format: torch.memory_format):
    tail, mean = tail_and_mean(scale)
    x = torch.randn(2, 4, 64, 33).contiguous(memory_format=memory_format).requires_grad_()
    images = upsampled(tail, mean, x)
    assert images.is_contiguous()
    grads = torch.autograd.grad(images.square().mean(), (x, *tail.parameters()))
    for result, expected in zip((images, *grads), results(tail, mean, x), strict=True):
        assert error(result, expected) < 2e-5


def test_autocast_computes_the_kernels_in_float32():
    tail, mean = tail_and_mean(4)
    x = torch.randn(2, 4, 64, 33)
    with torch.autocast("cpu", torch.bfloat16):
        images = upsampled(tail, mean, x.bfloat16())
    assert images.dtype == torch.bfloat16
    assert error(images, results(tail, mean, x)[0]) < 1e-2


def test_left_to_the_layers():
    tail, mean = tail_and_mean(2)
    x = torch.randn(1, 4, 64, 64)
    assert upsampled(tail, mean, x) is not None
    assert upsampled(tail, mean, x[..., :63]) is None, "too few pixels"
    assert upsampled(tail, mean, x.double()) is None, "another type"
    assert upsampled(nn.Sequential(tail, nn.ReLU()), mean, x) is None, "not linear"
    tail[1].register_forward_hook(lambda *_: None)
    assert upsampled(tail, mean, x) is None, "a hook"
