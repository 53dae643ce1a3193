"""Tails of SR networks for tests."""

import torch
from torch import nn

from dasr_fast.models import DASR


def tail_layers(scale: int, channels: int = 4, kernel_size: int = 3) -> list[nn.Module]:
    """The layers of a network's tail in float64, the addition of the mean with weights that mix colours."""
    network = DASR(scale, channels=channels, groups=1, blocks=1, kernel_size=kernel_size).double()
    torch.manual_seed(scale)
    for convolution in (*network.tail[0], network.tail[1], network.add_mean):
        for parameter in convolution.parameters():
            nn.init.normal_(parameter)
    return [*network.tail[0], network.tail[1], network.add_mean]
