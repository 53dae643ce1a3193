"""Depthwise kernels that don't depend on the degradation."""

import math

import torch
from torch import Tensor, nn


class StaticKernel(nn.Module):
    """The learned kernels of an ordinary depthwise convolution, called as the MLP that predicts dynamic ones is.

    Weights are those of `nn.Conv2d(channels, channels, kernel_size, groups=channels)`, under its name and with its
    initial values.

    Args:
        channels: Channels C of the features.
        kernel_size: Size k of the kernels.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, kernel_size, kernel_size))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, v: Tensor) -> Tensor:
        """The same kernels `[B, C * k * k]` for each representation in `v` `[B, representation]`, without a copy."""
        return self.weight.flatten().expand(v.shape[0], -1)
