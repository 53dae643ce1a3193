"""Modules that were changed from outside are called, as the released layers call them, whatever an op could compute."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, weight_norm

from dasr_fast.nn import ChannelModulation, DABlock, DAConv


class Doubled(nn.Module):
    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return 2 * super().forward(*arguments, **keywords)


class DoubledConvolution(nn.Conv2d):
    def _conv_forward(self, *arguments: Any) -> Tensor:
        return 2 * super()._conv_forward(*arguments)


def subclassed(module: nn.Module) -> None:
    module.__class__ = type("Doubled", (Doubled, type(module)), {})


def with_other_convolution(module: nn.Module) -> None:
    module.__class__ = DoubledConvolution


def patched(module: nn.Module) -> None:
    forward = module.forward
    module.forward = lambda *arguments, **keywords: 2 * forward(*arguments, **keywords)


def hooked(module: nn.Module) -> None:
    module.register_forward_hook(lambda _, inputs, output: 2 * output)


def hooked_before(module: nn.Module) -> None:
    module.register_forward_pre_hook(lambda _, inputs: tuple(2 * value for value in inputs))


def hooked_backward(module: nn.Module) -> None:
    module.register_full_backward_hook(lambda _, of_inputs, of_outputs: tuple(2 * grad for grad in of_inputs))


def slope(value: float, inplace: bool = False) -> Callable[[nn.Module], None]:
    def change(module: nn.Module) -> None:
        assert isinstance(module, nn.LeakyReLU)
        module.negative_slope, module.inplace = value, inplace

    return change


ANY = [subclassed, patched, hooked]
WEIGHTED = [
    with_other_convolution,
    hooked_before,
    hooked_backward,
    lambda module: prune.random_unstructured(module, "weight", 0.5),
    weight_norm,
    parametrizations.weight_norm,
]
CHANGES = [
    *(("da_conv1.conv", change) for change in [*ANY, *WEIGHTED]),
    *(("conv1", change) for change in [*ANY, *WEIGHTED]),
    *(("da_conv2.relu", change) for change in [*ANY, hooked_before, slope(1.5), slope(0.3, inplace=True)]),
    *(("relu", change) for change in [*ANY, hooked_before, slope(-0.2), slope(0.1, inplace=True)]),
    *(("relu", slope(0.3, inplace=True)), ("conv2", hooked)),
    *(("da_conv1", change) for change in ANY),
    *(("da_conv2.ca", change) for change in ANY),
    ("da_conv2.ca.conv_du", hooked),
    ("da_conv1.kernel", hooked),
]
VARIANTS: list[dict[str, Any]] = [{}, {"gate": "series"}, {"gate": "none", "pointwise": False}, {"spatial_gate": True}]


class CalledDAConv(DAConv):
    """Every part is called."""

    def forward(self, x: Any, v: Any = None, *, activate: bool = False) -> Tensor:
        b, c, h, w = x.shape
        kernel = self.kernel(v).view(b * c, 1, self.kernel_size, self.kernel_size)
        y = F.conv2d(x.reshape(1, b * c, h, w), kernel, padding=self.kernel_size // 2, groups=b * c)
        y = self.relu(y.view(b, c, h, w))
        y = y if self.conv is None else self.conv(y)
        if self.ca is not None:
            y = self.ca(y, v) if self.gate == "series" else y + self.ca(x, v)
        return y if self.sa is None else y + x * self.sa(x)


class CalledChannelModulation(ChannelModulation):
    def forward(self, x: Any, v: Any = None) -> Tensor:
        return x * self.conv_du(v[:, :, None, None])


def called(block: DABlock, x: Tensor, v: Tensor) -> Tensor:
    y = block.conv1(block.relu(block.da_conv1(x, v)))
    return block.conv2(block.relu(block.da_conv2(block.relu(y), v))) + x


def outcome(function: Callable[[Tensor, Tensor], Tensor], block: nn.Module, x: Tensor, v: Tensor) -> list[Tensor]:
    inputs = [x.clone().requires_grad_(), v.clone().requires_grad_()]
    y = function(*inputs)
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    parameters = list(block.parameters())
    grads = torch.autograd.grad((y * weights).sum(), [*inputs, *parameters], allow_unused=True, materialize_grads=True)
    return [y.detach(), *grads]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_changed_modules_are_called(options: dict[str, Any]):
    block = DABlock(16, 8, reduction=2, **options).double()
    plain = copy.deepcopy(block)
    for part in plain.modules():
        if type(part) in (DAConv, ChannelModulation):
            part.__class__ = {DAConv: CalledDAConv, ChannelModulation: CalledChannelModulation}[type(part)]
    x, v = torch.randn(2, 16, 6, 5, dtype=torch.float64), torch.randn(2, 8, dtype=torch.float64)
    unchanged = outcome(block, block, x, v)
    torch.testing.assert_close(unchanged, outcome(lambda x, v: called(plain, x, v), plain, x, v))
    tried = 0
    for path, change in CHANGES:
        try:
            if block.get_submodule(path) is None:
                continue
        except AttributeError:
            continue
        changed, expected = copy.deepcopy(block), copy.deepcopy(plain)
        for network in (changed, expected):
            torch.manual_seed(1)
            change(network.get_submodule(path))
        result = outcome(changed, changed, x, v)
        target = outcome(lambda x, v, network=expected: called(network, x, v), expected, x, v)
        torch.testing.assert_close(result, target, msg=lambda text, path=path, change=change: f"{path} {change} {text}")
        tried += 1
    assert tried >= 20
