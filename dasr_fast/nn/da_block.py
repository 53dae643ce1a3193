"""The degradation-aware block."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dasr_fast.nn.activation import Activation, make_activation
from dasr_fast.nn.convolution import computable, convolved, uncalled_slope, unchanged
from dasr_fast.nn.da_conv import DAConv, half_block
from dasr_fast.nn.inputs import features_and_representation


class DABlock(nn.Module):
    """Two DA convolutions, each followed by a convolution, and a skip connection.

    The released module `DAB`, with its parameter names; paper Figure 2(c). No activation follows the last convolution.

    Args:
        channels: Channels C of the features.
        representation: Width of the degradation representation.
        kernel_size: Of all four convolutions.
        reduction: Of `ChannelModulation`.
        block_activation: What follows each DA convolution and the convolution between them.
        block_slope: Its slope, if "leaky_relu" or "prelu".
        options: Further options of both `DAConv`.
    """

    def __init__(
        self,
        channels: int,
        representation: int = 64,
        kernel_size: int = 3,
        reduction: int = 8,
        *,
        block_activation: Activation = "leaky_relu",
        block_slope: float = 0.1,
        **options: Any,
    ) -> None:
        super().__init__()
        self.channels, self.representation = channels, representation
        self.da_conv1 = DAConv(channels, representation, kernel_size, reduction, **options)
        self.da_conv2 = DAConv(channels, representation, kernel_size, reduction, **options)
        self.conv1 = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size, padding=kernel_size // 2)
        self.relu = make_activation(block_activation, block_slope)

    def forward(self, x: Tensor | Sequence[Tensor], v: Tensor | None = None) -> Tensor:
        """Features `[B, C, H, W]` and representation `[B, representation]` to features `[B, C, H, W]`."""
        x, v = features_and_representation("DABlock", x, v, self.channels, self.representation)
        y = self._half(self.da_conv1, self.conv1, x, v, None)
        return self._half(self.da_conv2, self.conv2, y, v, x)

    def _half(self, layer: DAConv, conv: nn.Module, x: Tensor, v: Tensor, residual: Tensor | None) -> Tensor:
        """DA convolution, activation, convolution; then the activation, or the sum if there is a residual."""
        slope = uncalled_slope(self.relu)
        is_one_op = slope is not None and unchanged(layer, DAConv) and slope == layer.slope_of_op()
        if slope is not None and is_one_op and layer.conv is not None and computable(conv, x):
            kernel, gate = layer.kernel_and_gate(v)
            pointwise, backend = layer.conv, layer.backend
            return half_block(x, kernel, pointwise, gate, conv, residual, negative_slope=slope, backend=backend)
        activation = self.relu if residual is None else None
        return convolved(conv, self._activated(layer, x, v), residual, activation=activation, backend=layer.backend)

    def _activated(self, layer: DAConv, x: Tensor, v: Tensor) -> Tensor:
        slope = uncalled_slope(self.relu)
        if slope is not None and unchanged(layer, DAConv) and slope == uncalled_slope(layer.relu):
            return layer(x, v, activate=True)
        return self.relu(layer(x, v))
