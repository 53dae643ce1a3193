"""The op `dynamic_depthwise_conv`: a k x k depthwise filter for every sample and channel."""

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.op import Op


def _flops(x: Sequence[int], kernel: Sequence[int], *_: Any) -> int:
    return 2 * math.prod(x) * kernel[-1] ** 2


def _flops_backward(grad: Sequence[int], x: Sequence[int], kernel: Sequence[int], *_: Any) -> int:
    return 2 * _flops(x, kernel)


OP = Op(
    "dynamic_depthwise_conv",
    {"x": "B C H W", "kernel": "B C k k", "y": "B C H W"},
    flops=_flops,
    flops_backward=_flops_backward,
)


def dynamic_depthwise_conv(
    x: Tensor, kernel: Tensor, *, negative_slope: float | None = None, backend: Asked = "auto"
) -> Tensor:
    """`y[b, c] = x[b, c]` cross-correlated with `kernel[b, c]`, zero padding `k // 2`, then LeakyReLU if asked.

    Differentiable in `x` and `kernel` (once). Source: `DA_conv` of the released model (its `groups = B * C`
    convolution), paper Figure 2(c).

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        kernel: Filters `[B, C, k, k]`, k in 1, 3, 5, 7, of the type and device of `x`.
        negative_slope: Slope in [0, 1] of the LeakyReLU that follows; None for none.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[B, C, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    return OP(backend, x, kernel, negative_slope)
