"""Subtraction and addition of the training images' mean colour."""

import torch
from torch import nn

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""Mean RGB of DIV2K, of 1; the released model's figures."""


class MeanShift(nn.Conv2d):
    """Adds `sign` times the mean colour of DIV2K to images `[B, 3, H, W]` in 0 to 255.

    A fixed 1x1 convolution, so that its state dict is that of the released module of the same name.
    """

    def __init__(self, sign: int) -> None:
        super().__init__(3, 3, kernel_size=1)
        self.requires_grad_(False)
        assert self.bias is not None
        with torch.no_grad():
            nn.init.dirac_(self.weight)
            self.bias.copy_(sign * 255.0 * torch.tensor(DIV2K_MEAN, dtype=torch.float32, device=self.bias.device))
