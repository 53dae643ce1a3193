import copy

import pytest
import torch
from acceleration.models_related import SeriesWithSkip, accelerated, call
from torch import Tensor, nn

import dasr_fast
from dasr_fast.acceleration.accelerate import report
from tests.released.network import Block, conv3


class Trunk(nn.Module):
    """Blocks in a trunk whose forward nobody knows, with a tail at x4, channels-last."""

    def __init__(self) -> None:
        super().__init__()
        self.head = conv3(3, 32)
        self.first, self.second, self.conv = Block(32), Block(32), conv3(32, 32)
        up = [layer for _ in range(2) for layer in (conv3(32, 128), nn.PixelShuffle(2))]
        self.tail = nn.Sequential(nn.Sequential(*up), conv3(32, 3))
        self.to(memory_format=torch.channels_last)

    def forward(self, x, v):
        x = self.head(x / 255)
        y = self.second([torch.tanh(self.first([x, v])), v])
        return 255 * self.tail(self.conv(y) * 0.1 + x)


def gradients(model: nn.Module, x: Tensor, v: Tensor) -> list[Tensor]:
    y = model(x, v)
    return [y, *torch.autograd.grad((y * torch.linspace(-1, 1, y.numel()).view_as(y)).sum(), list(model.parameters()))]


@pytest.mark.parametrize("size", [(7, 5), (50, 45)])
def test_results_and_gradients_are_the_same(size: tuple[int, int]):
    model = Trunk()
    original = copy.deepcopy(model).double()
    dasr_fast.accelerate(model)
    x, v = torch.rand(1, 3, *size) * 255, torch.randn(1, 32)
    for found, expected in zip(gradients(model, x, v), gradients(original, x.double(), v.double()), strict=True):
        error = (found - expected).norm() / expected.norm()
        assert error < 1e-5


def test_each_is_named_once():
    model = dasr_fast.accelerate(Trunk())
    named = {path: kind for path, kind in report(model).replaced.items() if "." not in path}
    assert named == {"first": "DAB", "second": "DAB", "conv": "Conv2d", "tail": "tail"}
    dasr_fast.revert(model)
    assert not report(model).replaced
    assert type(model.conv) is nn.Conv2d
    assert type(model.tail) is nn.Sequential


def test_a_network_without_such_layers_is_left_alone():
    model = dasr_fast.accelerate(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()))
    assert not report(model).replaced


def test_hooks_in_the_tail_are_called():
    model = dasr_fast.accelerate(Trunk())
    seen: list[torch.Size] = []
    model.tail[1].register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model(torch.rand(1, 3, 50, 45), torch.randn(1, 32))
    assert seen == [(1, 3, 200, 180)]


def test_small_features_go_to_the_own_forward(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()  # What conftest.py does for all others.
    model, original = accelerated(SeriesWithSkip())
    for height, same in ((127, True), (128, False)):
        x, v = torch.randn(1, 16, height, 64), torch.randn(1, 16)
        assert torch.equal(call(model, x, v), call(original, x, v)) == same
        torch.testing.assert_close(call(model, x, v), call(original, x, v), rtol=1e-4, atol=1e-4)
