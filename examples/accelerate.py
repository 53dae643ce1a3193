"""Make a model of your own faster, which computes kernels from a representation: python examples/accelerate.py"""

import torch
from torch import Tensor, nn

import dasr_fast


class Adaptive(nn.Module):
    """A DA convolution as it is often written: all samples and channels as groups of one convolution, which is slow."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.make = nn.Sequential(
            nn.Linear(channels, channels), nn.LeakyReLU(0.1), nn.Linear(channels, channels * 9, bias=False)
        )
        self.mix = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        b, c, h, w = x.shape
        kernels = self.make(v).view(b * c, 1, 3, 3)
        y = nn.functional.conv2d(x.reshape(1, b * c, h, w), kernels, padding=1, groups=b * c).view(b, c, h, w)
        return self.mix(nn.functional.leaky_relu(y, 0.1))


def main(channels: int = 64, size: int = 128) -> tuple[Tensor, Tensor, str]:
    model, x, v = Adaptive(channels), torch.randn(2, channels, size, size), torch.randn(2, channels)
    before = model(x, v)
    model = dasr_fast.accelerate(model)
    return before, model(x, v), str(dasr_fast.acceleration.report(model))


if __name__ == "__main__":
    before, after, report = main()
    print(report)
    print(f"Results differ by {(before - after).abs().max():.1e} at most.")
