"""The kernels and gates of all DA convolutions at once, since they depend on the representation alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dasr_fast.nn import DAConv, StaticKernel
from dasr_fast.nn.activation import fixed_slope
from dasr_fast.reference.layout import accumulation_dtype


class KernelsAndGates:
    """Depthwise kernels and gates of DA convolutions for a representation, each as two products for all layers.

    They are computed in float32 (float64 for float64) whatever `dtype`, that of the results and features, is: they cost
    next to nothing. The layers' sizes may differ, and any may be without a gate, or have static kernels.
    """

    def __init__(self, layers: Sequence[DAConv], dtype: torch.dtype) -> None:
        self._layers = [(layer.channels, layer.kernel_size, layer.ca is not None) for layer in layers]
        self._static = [
            layer.kernel.weight.detach().view(1, -1).to(dtype, copy=True)
            if isinstance(layer.kernel, StaticKernel)
            else None
            for layer in layers
        ]
        kernels = [layer.kernel for layer in layers if isinstance(layer.kernel, nn.Sequential)]
        gates = [layer.ca.conv_du for layer in layers if layer.ca is not None]
        self._kernels = _StackedMLPs(kernels, dtype, sigmoid=False)
        self._gates = _StackedMLPs(gates, dtype, sigmoid=True)

    def __call__(self, v: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """Contiguous kernels `[B, C, k, k]` and gates `[B, C]` or None of each layer, for `v` `[B, representation]`."""
        kernels, gates = iter(self._kernels(v)), iter(self._gates(v))
        return [
            (
                (next(kernels) if static is None else static.repeat(len(v), 1)).view(len(v), channels, size, size),
                next(gates) if gated else None,
            )
            for (channels, size, gated), static in zip(self._layers, self._static, strict=True)
        ]


class _StackedMLPs:
    """MLPs of two layers without bias, linear or 1x1 convolutions, and an activation of any slope, all of one input.

    Those of equal sizes are stacked: their hidden layers are one product, their outputs one batched product.
    """

    def __init__(self, mlps: Sequence[nn.Sequential], dtype: torch.dtype, *, sigmoid: bool) -> None:
        self._count, self._dtype, self._sigmoid = len(mlps), dtype, sigmoid
        weights = [(_matrix(mlp[0], dtype), _matrix(mlp[2], dtype)) for mlp in mlps]
        alike: dict[tuple[torch.Size, torch.Size], list[int]] = {}
        for index, (hidden, output) in enumerate(weights):
            alike.setdefault((hidden.shape, output.shape), []).append(index)
        self._stacks = [
            (
                indices,
                torch.cat([weights[index][0] for index in indices], dim=1),
                torch.stack([_slope(mlps[index][1], weights[index][0]) for index in indices]),
                torch.stack([weights[index][1] for index in indices]),
            )
            for indices in alike.values()
        ]

    def __call__(self, v: Tensor) -> list[Tensor]:
        """Results `[B, outputs]` of every MLP for `v` `[B, inputs]`."""
        results = [v] * self._count
        for indices, hidden, slopes, output in self._stacks:
            x = (v.to(hidden.dtype) @ hidden).view(len(v), len(indices), output.shape[1]).transpose(0, 1)
            y = torch.bmm(torch.where(x >= 0, x, x * slopes), output)
            y = (y.sigmoid() if self._sigmoid else y).to(self._dtype)
            for index, result in zip(indices, y, strict=True):
                results[index] = result
        return results


def _matrix(layer: nn.Module, dtype: torch.dtype) -> Tensor:
    """Weights `[inputs, outputs]` in the type that sums for `dtype` have."""
    assert isinstance(layer, (nn.Linear, nn.Conv2d))
    return layer.weight.detach().flatten(1).T.to(accumulation_dtype(dtype))


def _slope(activation: nn.Module, like: Tensor) -> Tensor:
    """Slope `[1, 1]` of an activation; a PReLU's is learned."""
    if isinstance(activation, nn.PReLU):
        return activation.weight.detach().to(like).reshape(1, 1)
    slope = activation.negative_slope if isinstance(activation, nn.LeakyReLU) else fixed_slope(activation)
    assert slope is not None
    return like.new_full((1, 1), slope)
