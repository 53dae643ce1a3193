"""The op `da_conv`: both branches of a degradation-aware convolution and the activation after them."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.op import Op


def flops(x: Sequence[int], kernel: Sequence[int], weight: Sequence[int], *_: Any) -> int:
    return 2 * math.prod(x) * (kernel[-1] ** 2 + weight[0])


def flops_backward(grad: Sequence[int], x: Sequence[int], kernel: Sequence[int], weight: Sequence[int], *_: Any) -> int:
    """Those of both gradients of both convolutions, and of the depthwise result once more."""
    return 2 * math.prod(x) * (3 * kernel[-1] ** 2 + 2 * weight[0])


OP = Op(
    "da_conv",
    {
        "x": "B C H W",
        "kernel": "B C k k",
        "weight": "C_out C",
        "bias": "C_out",
        "gate": "B C=C_out",
        "y": "B C_out H W",
    },
    flops=flops,
    flops_backward=flops_backward,
)


def da_conv(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    *,
    negative_slope: float = 0.1,
    activate: bool = False,
    backend: Asked = "auto",
) -> Tensor:
    """`weight @ lrelu(x (depthwise) kernel) + bias + x * gate`, then LeakyReLU if `activate`.

    Differentiable in all tensors (once). The backward pass computes the depthwise result anew, so that only the
    inputs, and with `activate` the output, are kept. Source: `DA_conv` of the released model, paper Figure 2(c).

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        kernel: Depthwise filters `[B, C, k, k]`, k in 1, 3, 5, 7.
        weight: Pointwise weights `[C_out, C]`.
        bias: `[C_out]`, or None.
        gate: Channel modulation `[B, C]`, which needs `C_out = C`, or None for the first branch alone.
        negative_slope: Slope in [0, 1] of both LeakyReLUs: 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the sum of both branches.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    return OP(backend, x, kernel, weight, bias, gate, negative_slope, activate)
