"""The degradation-aware SR network."""

from typing import Any

from torch import Tensor, nn

from dasr_fast.models.bounds import drawn_inside
from dasr_fast.models.mean_shift import MeanShift
from dasr_fast.nn import DAGroup
from dasr_fast.nn.collapsed_tail import run_tail
from dasr_fast.nn.convolution import convolved, features_format, in_memory_format, run_layers


class DASR(nn.Module):
    """SR network that adapts to the degradation: head, groups of DA blocks, upsampler, tail.

    The released module `DASR`, with its parameter names; paper Figure 2(b).

    Args:
        scale: 2, 3 or 4.
        channels: Channels of the features.
        embedding: Width of the encoder's embedding.
        representation: Width to which the embedding is compressed for the DA convolutions.
        groups: Number of residual groups.
        blocks: Number of DA blocks in each.
        kernel_size: Rows and columns of all convolutions of the body, head and tail.
        reduction: See `dasr_fast.nn.ChannelModulation`.
        options: Further options of each `dasr_fast.nn.DABlock`.

    Attributes:
        bounds: What embeddings the weights were trained with, `[3, embedding]` as from
            `dasr_fast.models.bounds.make_bounds`; in evaluation mode others are drawn inside. None, as for released
            weights, takes embeddings as they are. It is a buffer that no state dict holds.

    Raises:
        ValueError: The scale is another.
    """

    bounds: Tensor | None

    def __init__(
        self,
        scale: int = 4,
        *,
        channels: int = 64,
        embedding: int = 256,
        representation: int = 64,
        groups: int = 5,
        blocks: int = 5,
        kernel_size: int = 3,
        reduction: int = 8,
        **options: Any,
    ) -> None:
        super().__init__()
        self.scale, self.embedding = scale, embedding
        self.register_buffer("bounds", None, persistent=False)

        def conv(channels_in: int, channels_out: int) -> nn.Conv2d:
            return nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)

        self.sub_mean = MeanShift(-1)
        self.add_mean = MeanShift(1)
        self.head = nn.Sequential(conv(3, channels))
        self.compress = nn.Sequential(nn.Linear(embedding, representation, bias=False), nn.LeakyReLU(0.1))
        self.body = nn.Sequential(
            *(DAGroup(channels, representation, kernel_size, reduction, blocks, **options) for _ in range(groups)),
            conv(channels, channels),
        )
        upsampler: list[nn.Module] = []
        for factor in _upsampling_factors(scale):
            upsampler += [conv(channels, channels * factor**2), nn.PixelShuffle(factor)]
        self.tail = nn.Sequential(nn.Sequential(*upsampler), conv(channels, 3))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Images `[B, 3, H, W]` in 0 to 255 and embeddings `[B, embedding]` to `[B, 3, H * scale, W * scale]`.

        The result is neither rounded nor clamped.
        """
        if self.bounds is not None and not self.training:
            embedding = drawn_inside(embedding, self.bounds)
        v = self.compress(embedding)
        x = run_layers(self.head, self.sub_mean(x))
        x = in_memory_format(x, features_format(x))
        y = x
        for group in list(self.body)[:-1]:
            y = group(y, v)
        return run_tail((self.tail, self.add_mean), convolved(self.body[-1], y, x))


def _upsampling_factors(scale: int) -> list[int]:
    factors = {2: [2], 3: [3], 4: [2, 2]}
    if not isinstance(scale, int) or scale not in factors:
        raise ValueError(f"DASR: scale must be 2, 3 or 4; got {scale}.")
    return factors[scale]
