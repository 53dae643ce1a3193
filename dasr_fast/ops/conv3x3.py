"""The op `conv3x3`: a 3x3 convolution with what follows it."""

import math
from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.op import Op
from dasr_fast.reference.layout import memory_format
from dasr_fast.torch_state import needs_gradient

_SHAPES = {"x": "B C H W", "weight": "C_out C 3 3", "bias": "C_out", "residual": "B C_out H W", "y": "B C_out H W"}


def flops(x: Sequence[int], weight: Sequence[int], *_: Any) -> int:
    """Those of the convolution as it is defined; Winograd's filtering multiplies less."""
    return 2 * math.prod(x) * weight[0] * 9


def _flops_backward(
    grad: Any, x: Sequence[int], weight: Sequence[int], y: Any, slope: Any, wanted: Sequence[bool], *_: Any
) -> int:
    return sum(wanted[:2]) * flops(x, weight)


def _by_pytorch(
    backend: Asked, x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None, slope: float | None
) -> Tensor:
    if x.numel() == 0:
        return OP.compute("reference", x, weight, bias, residual, slope)
    y = F.conv2d(x, weight, bias, padding=1).contiguous(memory_format=memory_format(x))
    if slope is not None:
        y = F.leaky_relu(y, slope, inplace=True)
    if residual is None:
        return y
    return y + residual if needs_gradient(y, residual) else y.add_(residual)


OP = Op("conv3x3", _SHAPES, flops=flops, flops_backward=_flops_backward, otherwise=_by_pytorch)


def conv3x3(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    residual: Tensor | None = None,
    *,
    negative_slope: float | None = None,
    backend: Asked = "auto",
) -> Tensor:
    """3x3 convolution of `x` padded with zeros, then LeakyReLU if asked for, then `+ residual`.

    Differentiable in all tensors (once). With an activation the output is kept for the backward pass, and nothing
    before it. Where `auto` finds no kernel, or a slow one, PyTorch's convolution computes the op; it rounds its result
    before what follows.

    The backend `cpp` computes 4x4 results at a time, by Winograd's filtering. Their rounding errors are relative to the
    largest of the tile's 6x6 inputs: about 2e-6 of it times the largest weight of its channel. So one number of 10^6
    among features of about 1 changes results that it doesn't reach, by 0.4 where weights reach 0.3. The reference
    doesn't do this.

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        weight: `[C_out, C, 3, 3]`.
        bias: `[C_out]`, or None.
        residual: `[B, C_out, H, W]`, added last, or None.
        negative_slope: Slope in [0, 1] of the LeakyReLU: 0 is a ReLU; None for no activation.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    return OP(backend, x, weight, bias, residual, negative_slope)
