"""The degradation encoder."""

from torch import Tensor, nn

from dasr_fast.nn.convolution import features_format, run_layers

EMBEDDING = 256
"""Width of the embedding."""


class DegradationEncoder(nn.Module):
    """Six convolutions and global average pooling to an embedding, and the MLP that projects it for contrast.

    The released module `Encoder`, with its parameter names; paper Figure 2(a).
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        widths = ((3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1))
        for channels_in, channels_out, stride in widths:
            layers += [
                nn.Conv2d(channels_in, channels_out, 3, stride, padding=1),
                nn.BatchNorm2d(channels_out),
                nn.LeakyReLU(0.1),
            ]
        self.E = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.mlp = nn.Sequential(nn.Linear(256, 256), nn.LeakyReLU(0.1), nn.Linear(256, 256))

    def embed(self, x: Tensor) -> Tensor:
        """Embedding `[B, 256]` of images `[B, 3, H, W]` in 0 to 255: what the SR network gets."""
        return run_layers(self.E, x.contiguous(memory_format=features_format(x))).flatten(1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Embedding and projection, both `[B, 256]`, of images `[B, 3, H, W]` in 0 to 255."""
        embedding = self.embed(x)
        return embedding, self.mlp(embedding)
