"""DA blocks for inference."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.inference.convolution import Convolution
from dasr_fast.nn import ChannelModulation, DABlock, DAConv, SpatialGate
from dasr_fast.nn.activation import fixed_slope

Modulation = tuple[Tensor, Tensor | None]
"""Kernels `[B, C, k, k]` and gates `[B, C]` of a DA convolution."""


class FoldedBlock:
    """A `dasr_fast.nn.DABlock` that `covers` accepts, one pass over the features for each half.

    Args:
        block: The block.
        dtype: Type of the features.
        backend: See `dasr_fast.ops`.
        gain: Factor of the features, and so of the biases.
    """

    def __init__(self, block: DABlock, dtype: torch.dtype, backend: str, gain: float) -> None:
        slope = fixed_slope(block.relu)
        first = Convolution.of(block.conv1, slope, dtype=dtype, backend=backend, gain=gain)
        second = Convolution.of(block.conv2, dtype=dtype, backend=backend, gain=gain)
        self._first, self._second = _HalfBlock(block.da_conv1, first, gain), _HalfBlock(block.da_conv2, second, gain)

    @staticmethod
    def covers(block: nn.Module) -> bool:
        """Whether it is a `DABlock` of one fixed slope, whose DA convolutions are what `ops.da_conv` computes."""
        if type(block) is not DABlock:
            return False
        layers = (block.da_conv1, block.da_conv2)
        slopes = {fixed_slope(module.relu) for module in (block, *layers)}
        plain = all(layer.conv is not None and layer.gate != "series" and layer.sa is None for layer in layers)
        return plain and len(slopes) == 1 and None not in slopes

    def __call__(self, x: Tensor, v: Tensor, modulations: Iterator[Modulation]) -> Tensor:
        """Features `[B, C, H, W]` to features; takes the next two modulations."""
        y = self._first(x, next(modulations))
        return self._second(y, next(modulations), residual=x)


class CopiedBlock:
    """A copy of any other block, which makes its own kernels and gates.

    Args:
        block: The block, called with `(x, v)`.
        dtype: Type of the features.
        backend: Of its layers.
        gain: Factor of the features.
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype, backend: str, gain: float) -> None:
        self._block = copy.deepcopy(block).eval().requires_grad_(False)
        for module in self._block.modules():
            if isinstance(module, DAConv | ChannelModulation):
                module.backend = backend
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                module.bias.mul_(gain)
        for module in self._block.modules():
            if isinstance(module, SpatialGate):  # Its sigmoid must see features of the usual size.
                module.conv.weight.div_(gain)
                assert module.conv.bias is not None
                module.conv.bias.div_(gain)
        self._block.to(dtype)

    def __call__(self, x: Tensor, v: Tensor, modulations: Iterator[Modulation]) -> Tensor:
        """Features `[B, C, H, W]` to features, for the representation `v`."""
        return self._block(x, v.to(x.dtype)).contiguous(memory_format=torch.channels_last)


class _HalfBlock:
    """A DA convolution, LeakyReLU, a convolution, then LeakyReLU or a sum.

    It is `ops.da_half_block` with a 3x3 convolution, else `ops.da_conv` and the convolution.

    Args:
        layer: The DA convolution.
        convolution: The convolution; its activation, if it has one, is that of `layer`.
        gain: Factor of the features.
    """

    def __init__(self, layer: DAConv, convolution: Convolution, gain: float) -> None:
        slope = fixed_slope(layer.relu)
        assert layer.conv is not None
        assert layer.conv.bias is not None
        assert slope is not None
        dtype = convolution.weight.dtype
        self._weight = layer.conv.weight.detach().flatten(1).to(dtype, copy=True)
        self._bias = (layer.conv.bias.detach() * gain).to(dtype)
        self._slope, self._convolution = slope, convolution

    def __call__(self, x: Tensor, modulation: Modulation, residual: Tensor | None = None) -> Tensor:
        kernel, gate = modulation
        slope, convolution, backend = self._slope, self._convolution, self._convolution.backend
        da_conv = (x, kernel, self._weight, self._bias, gate)
        if not convolution.is_3x3:
            return convolution(ops.da_conv(*da_conv, negative_slope=slope, activate=True, backend=backend), residual)
        return ops.da_half_block(
            *(*da_conv, convolution.weight, convolution.bias, residual),
            negative_slope=slope,
            activate=convolution.negative_slope is not None,
            backend=(backend, "auto"),
        )
