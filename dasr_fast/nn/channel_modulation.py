"""Channel modulation by the degradation representation."""

from collections.abc import Sequence

from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.nn.inputs import features_and_representation


class ChannelModulation(nn.Module):
    """Features times a gate in (0, 1) for every sample and channel, made from the representation.

    The released module `CA_layer`, with its parameter names; paper Figure 2(c).

    Args:
        channels: Channels C of the features.
        representation: Width of the degradation representation.
        reduction: The hidden layer has `representation // reduction` channels, at least one.
        negative_slope: Slope of the hidden layer's LeakyReLU.
        backend: See `dasr_fast.ops`.

    Raises:
        ValueError: The reduction is below 1.
    """

    def __init__(
        self,
        channels: int,
        representation: int = 64,
        reduction: int = 8,
        *,
        negative_slope: float = 0.1,
        backend: str = "auto",
    ) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"ChannelModulation: reduction must be at least 1; got {reduction}.")
        self.channels, self.representation, self.backend = channels, representation, backend
        hidden = max(1, representation // reduction)
        self.conv_du = nn.Sequential(
            nn.Conv2d(representation, hidden, 1, bias=False),
            nn.LeakyReLU(negative_slope),
            nn.Conv2d(hidden, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def gate(self, v: Tensor) -> Tensor:
        """Gate `[B, C]` for the representation `v` `[B, representation]`."""
        gate: Tensor = self.conv_du(v[:, :, None, None])
        return gate.flatten(1)

    def forward(self, x: Tensor | Sequence[Tensor], v: Tensor | None = None) -> Tensor:
        """`x * gate(v)`: features `[B, C, H, W]` and representation `[B, representation]` to `[B, C, H, W]`."""
        x, v = features_and_representation("ChannelModulation", x, v, self.channels, self.representation)
        return ops.channel_modulation(x, self.gate(v), backend=self.backend)
