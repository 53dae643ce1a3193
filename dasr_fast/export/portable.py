"""DASR in standard operators alone, for other runtimes."""

import copy
from collections.abc import Sequence
from functools import reduce
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dasr_fast.models import DASR, BlindSR, DegradationEncoder
from dasr_fast.nn import DAConv
from dasr_fast.nn.inputs import features_and_representation

Module = TypeVar("Module", bound=nn.Module)


class PortableDAConv(DAConv):
    """A `DAConv` without ops of this package: its depthwise convolution is k * k shifted products, summed.

    A grouped convolution would need as many groups as the batch has channels, a number that graphs can't hold.
    """

    def forward(self, x: Tensor | Sequence[Tensor], v: Tensor | None = None, *, activate: bool = False) -> Tensor:
        """As that of `DAConv`."""
        x, v = features_and_representation("DAConv", x, v, self.channels, self.representation)
        taps = self.kernel(v).unflatten(1, (self.channels, self.kernel_size**2, 1)).split(1, dim=2)
        y = self.relu(reduce(torch.add, map(torch.mul, _shifted(x, self.kernel_size), taps)))
        if self.conv is not None:
            y = self.conv(y)
        if self.ca is not None:
            gate = self.ca.gate(v)[..., None, None]
            y = y * gate if self.gate == "series" else y + x * gate
        if self.sa is not None:
            y = y + x * self.sa(x)
        return self.relu(y) if activate else y


class PortableBlindSR(nn.Module):
    """What `BlindSR` computes in evaluation mode, from a copy of its weights in float32 on the CPU.

    Batch normalisation is folded into the encoder's convolutions. The model may be in any mode.

    Attributes:
        encoder: LR images `[B, 3, H, W]` in 0 to 255 to embeddings `[B, 256]`: `BlindSR.encode`.
        sr_network: LR images and embeddings to SR images `[B, 3, H * scale, W * scale]`: `BlindSR.restore`.
    """

    def __init__(self, model: BlindSR) -> None:
        super().__init__()
        self.encoder = _portable_encoder(_snapshot(model.E.encoder_q))
        self.sr_network = _portable_sr_network(_snapshot(model.G))
        self.eval()

    def forward(self, lr: Tensor) -> Tensor:
        """SR images `[B, 3, H * scale, W * scale]` for LR images `[B, 3, H, W]`."""
        return self.sr_network(lr, self.encoder(lr))


def _snapshot(module: Module) -> Module:
    return copy.deepcopy(module).to("cpu", torch.float32).eval().requires_grad_(False)


def _portable_encoder(encoder: DegradationEncoder) -> nn.Sequential:
    layers: list[nn.Module] = []
    for layer in encoder.E:
        if isinstance(layer, nn.BatchNorm2d):
            convolution = layers.pop()
            assert isinstance(convolution, nn.Conv2d)
            layers.append(fuse_conv_bn_eval(convolution, layer))
        else:
            layers.append(layer)
    return nn.Sequential(*layers, nn.Flatten(1))


def _portable_sr_network(network: DASR) -> DASR:
    for layer in network.modules():
        if isinstance(layer, DAConv):
            layer.__class__ = PortableDAConv
    return network


def _shifted(x: Tensor, size: int) -> list[Tensor]:
    """`x` `[B, C, H, W]` as each tap of a kernel sees it, with zeros from outside; taps row by row."""
    padded = F.pad(x, [size // 2] * 4)
    parts = [slice(tap, tap + 1 - size or None) for tap in range(size)]
    return [rows[..., columns] for rows in (padded[..., part, :] for part in parts) for columns in parts]
