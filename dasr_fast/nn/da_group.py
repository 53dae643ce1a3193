"""The residual group of degradation-aware blocks."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dasr_fast.nn.convolution import convolved
from dasr_fast.nn.da_block import DABlock
from dasr_fast.nn.inputs import features_and_representation


class DAGroup(nn.Module):
    """DA blocks, a convolution and a skip connection.

    The released module `DAG`, with its parameter names; paper Figure 2(b).

    Args:
        channels: Channels C of the features.
        representation: Width of the degradation representation.
        kernel_size: Of all convolutions.
        reduction: Of `ChannelModulation`.
        blocks: Number of DA blocks.
        options: Further options of each `DABlock`.
    """

    def __init__(
        self,
        channels: int,
        representation: int = 64,
        kernel_size: int = 3,
        reduction: int = 8,
        blocks: int = 5,
        **options: Any,
    ) -> None:
        super().__init__()
        self.channels, self.representation = channels, representation
        self.body = nn.Sequential(
            *(DABlock(channels, representation, kernel_size, reduction, **options) for _ in range(blocks)),
            nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2),
        )

    def forward(self, x: Tensor | Sequence[Tensor], v: Tensor | None = None) -> Tensor:
        """Features `[B, C, H, W]` and representation `[B, representation]` to features `[B, C, H, W]`."""
        x, v = features_and_representation("DAGroup", x, v, self.channels, self.representation)
        y = x
        for block in list(self.body)[:-1]:
            y = block(y, v)
        return convolved(self.body[-1], y, x)
