"""What foreign modules are made of."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.nn.convolution import is_plain, untouched


def descendant(module: nn.Module, path: str) -> Any:
    """The module at a path, as by `get_submodule`, which takes 2 us."""
    for name in path.split("."):
        module = module._modules[name]  # type: ignore[assignment]
    return module


def net_widths(module: nn.Module) -> tuple[int, int] | None:
    """Widths of input and output of a net of linear layers or 1x1 convolutions, or None if it is none.

    A net is one such layer, a sequence, or a module of layers that are its own children.
    """
    inner = [] if isinstance(module, nn.Sequential) else list(module.children())
    layers = [layer for layer in module.modules() if next(layer.parameters(recurse=False), None) is not None]
    found = [_widths(layer) for layer in layers if not isinstance(layer, nn.PReLU)]
    widths = [width for width in found if width is not None]
    if not widths or len(widths) < len(found) or any(next(child.children(), None) is not None for child in inner):
        return None
    return widths[0][0], widths[-1][1]


def _widths(layer: nn.Module) -> tuple[int, int] | None:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return (layer.in_channels, layer.out_channels) if is_plain(layer, 1) else None


def call_net(net: nn.Module, v: Tensor) -> Tensor:
    """Output `[B, width]` of a net of linear layers or 1x1 convolutions for `v` `[B, R]`."""
    layers = (layer for layer in net.modules() if isinstance(layer, (nn.Linear, nn.Conv2d)))
    y: Tensor = net(v[:, :, None, None] if isinstance(next(layers, None), nn.Conv2d) else v)
    return y.flatten(1)


@dataclass(frozen=True)
class GateNet:
    """Where the net is that makes a gate.

    Attributes:
        path: Of the net, from the layer.
        sigmoid: Whether the layer's forward applies the sigmoid, because the net doesn't.
    """

    path: str
    sigmoid: bool = False

    def gate(self, layer: nn.Module, v: Tensor) -> Tensor:
        """Gate `[B, C]` for the representation `[B, R]`."""
        gate = call_net(descendant(layer, self.path), v)
        return torch.sigmoid(gate) if self.sigmoid else gate


def gate_nets(layer: nn.Module) -> Iterator[tuple[GateNet, tuple[int, int]]]:
    """Nets directly in `layer` that may make a gate, with the widths of the representation and of the gate."""
    for name, child in layer.named_children():
        widths = net_widths(child)
        if widths is not None:
            yield GateNet(name), widths
            if not isinstance(list(child.modules())[-1], nn.Sigmoid):
                yield GateNet(name, sigmoid=True), widths


def is_activation(module: nn.Module) -> bool:
    """Whether `module` acts on each number alone."""
    return isinstance(module, nn.Identity) or (
        type(module).__module__ == "torch.nn.modules.activation"
        and not isinstance(module, (nn.MultiheadAttention, nn.Softmax, nn.Softmax2d, nn.LogSoftmax, nn.Softmin, nn.GLU))
    )


FUNCTIONAL = {
    0.1: nn.LeakyReLU(0.1),
    0.2: nn.LeakyReLU(0.2),
    0.01: nn.LeakyReLU(0.01),
    0.0: nn.ReLU(),
    1.0: nn.Identity(),
}
"""Activations that a forward may have as a function, by their slope."""


def activations(module: nn.Module) -> list[str | float]:
    """What may follow convolutions in `module`: names of its activation modules, then slopes of functions."""
    return [*(name for name, child in module.named_children() if is_activation(child)), *FUNCTIONAL]


def activation(module: nn.Module, name_or_slope: str | float) -> nn.Module:
    """One of `activations`."""
    return descendant(module, name_or_slope) if isinstance(name_or_slope, str) else FUNCTIONAL[name_or_slope]


def settled(function: nn.Module) -> nn.Module:
    """A LeakyReLU of the same slope in place of a PReLU, where no gradient is wanted and its number is at hand."""
    if torch.compiler.is_compiling() or torch.is_grad_enabled() or type(function) is not nn.PReLU:
        return function
    at_hand = function.weight.numel() == 1 and function.weight.device.type == "cpu" and untouched(function)
    slope = function.weight.item() if at_hand else -1.0
    return nn.LeakyReLU(slope) if 0 <= slope <= 1 else function


def kernel_sizes(width: int) -> Iterator[tuple[int, int]]:
    """Channels and kernel sizes whose kernels have `width` numbers, the likeliest first."""
    return ((width // size**2, size) for size in (3, 5, 7, 1) if width % size**2 == 0)


CONTAINERS = (nn.Sequential, nn.ModuleList)


def flattened(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Paths and modules of the children, with those in containers instead of the containers."""
    found = []
    for name, child in module.named_children():
        container = type(child) in CONTAINERS
        found += [(f"{name}.{path}", inner) for path, inner in flattened(child)] if container else [(name, child)]
    return found
