"""Gates of channel modulation, made from the representation."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dasr_fast.inference.replacements.structure import call_net, net_widths


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
        gate = call_net(layer.get_submodule(self.path), v)
        return torch.sigmoid(gate) if self.sigmoid else gate


def gate_nets(layer: nn.Module) -> Iterator[tuple[GateNet, tuple[int, int]]]:
    """Nets directly in `layer` that may make a gate, with the widths of the representation and of the gate."""
    for name, child in layer.named_children():
        widths = net_widths(child)
        if widths is not None:
            yield GateNet(name), widths
            if not isinstance(list(child.modules())[-1], nn.Sigmoid):
                yield GateNet(name, sigmoid=True), widths
