import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import error
from torch import Tensor, nn

from dasr_fast.models import DASR
from dasr_fast.nn import collapsed_tail
from dasr_fast.nn.collapsed_tail import WORTHWHILE, collapse_tail, convolve_regions, run_tail


def tail_layers(scale: int, channels: int = 4) -> list[nn.Module]:
    """The layers of a network's tail in float64, the addition of the mean with weights that mix colours."""
    network = DASR(scale, channels=channels, groups=1, blocks=1).double()
    torch.manual_seed(scale)
    layers = [*network.tail[0], network.tail[1], network.add_mean]
    for parameter in nn.Sequential(*layers).parameters():
        nn.init.normal_(parameter)
    return layers


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


def expected(modules: tuple[nn.Module, ...], x: Tensor) -> tuple[Tensor, ...]:
    """Images of the layers one after the other in float64, and gradients for features and parameters."""
    layers, x = nn.Sequential(*copy.deepcopy(modules)).double(), x.detach().double().requires_grad_()
    parameters = [parameter for parameter in layers.parameters() if parameter.requires_grad]
    images = layers(x)
    return images, *torch.autograd.grad(images.square().mean(), (x, *parameters))


@pytest.fixture
def collapsed(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The features that went through collapsed layers."""
    seen = []

    def convolve(x: Tensor, kernels: Any) -> Tensor:
        seen.append(x)
        return convolve_regions(x, kernels)

    monkeypatch.setattr(collapsed_tail, "convolve_regions", convolve)
    return seen


@pytest.mark.parametrize("with_mean", [True, False])
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_images_and_gradients(scale: int, memory_format: torch.memory_format, with_mean: bool, collapsed: list[Tensor]):
    modules = tail_and_mean(scale)[: 1 + with_mean]
    x = torch.randn(2, 4, 64, 33).contiguous(memory_format=memory_format).requires_grad_()
    images = run_tail(modules, x)
    assert len(collapsed) == 1
    assert images.is_contiguous()
    grads = torch.autograd.grad(images.square().mean(), (x, *modules[0].parameters()))
    for result, target in zip((images, *grads), expected(modules, x), strict=True):
        assert error(result, target) < 2e-5


def test_autocast_computes_the_kernels_in_float32(collapsed: list[Tensor]):
    modules = tail_and_mean(4)
    x = torch.randn(2, 4, 64, 33)
    with torch.autocast("cpu", torch.bfloat16):
        images = run_tail(modules, x.bfloat16())
    assert (len(collapsed), images.dtype) == (1, torch.bfloat16)
    assert error(images, expected(modules, x)[0]) < 1e-2


def replica(module: Any) -> Any:
    """As `nn.DataParallel` makes them: weights are tensors, not parameters."""
    made = module._replicate_for_data_parallel()
    made._modules = {name: replica(child) for name, child in module._modules.items()}
    for name, parameter in module._parameters.items():
        setattr(made, name, None if parameter is None else parameter.detach().clone())
    return made


def test_replicas_of_data_parallel(collapsed: list[Tensor]):
    modules = tail_and_mean(4)
    x = torch.randn(1, 4, 64, 33)
    assert error(run_tail([replica(module) for module in modules], x), expected(modules, x)[0]) < 1e-5
    assert len(collapsed) == 1


def test_left_to_the_layers(collapsed: list[Tensor]):
    tail, mean = tail_and_mean(2)
    x = torch.randn(1, 4, 64, WORTHWHILE // 64)
    untouched = run_tail((tail, mean), x)
    assert len(collapsed) == 1
    with pytest.raises(RuntimeError, match="same"):  # PyTorch's own message.
        run_tail((tail, mean), x.double())
    smaller = x[..., :-1]
    assert error(run_tail((tail, mean), smaller), expected((tail, mean), smaller)[0]) < 1e-5
    assert run_tail((tail, nn.ReLU(), mean), x).shape == untouched.shape
    tail[1].register_forward_hook(lambda module, inputs, output: output + 1)
    assert error(run_tail((tail, mean), x), expected((tail, mean), x)[0]) < 1e-5
    assert len(collapsed) == 1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_in_a_cuda_graph():
    modules = tuple(module.cuda() for module in tail_and_mean(4))
    x = torch.randn(2, 4, 64, 33, device="cuda")
    with torch.no_grad():
        images = run_tail(modules, x)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = run_tail(modules, x)
        graph.replay()
    torch.testing.assert_close(captured, images)
