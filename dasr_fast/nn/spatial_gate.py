"""A gate for every pixel, as some models built on DASR add to the DA convolution."""

import torch
from torch import Tensor, nn


class SpatialGate(nn.Module):
    """Sigmoid of a convolution over the maximum and the mean of all channels.

    The spatial attention of CBAM (Woo et al., ECCV 2018).

    Args:
        kernel_size: Odd size of the convolution.

    Raises:
        ValueError: The size is even.
    """

    def __init__(self, kernel_size: int = 7) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"SpatialGate: kernel_size must be odd; got {kernel_size}.")
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x: Tensor) -> Tensor:
        """Gate `[B, 1, H, W]` in (0, 1) for features `[B, C, H, W]`."""
        return torch.sigmoid(self.conv(torch.cat((x.amax(1, keepdim=True), x.mean(1, keepdim=True)), 1)))
