"""The op `da_half_block`: half of a degradation-aware block."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.conv3x3 import OP as conv3x3
from dasr_fast.ops.conv3x3 import flops as flops_of_conv3x3
from dasr_fast.ops.da_conv import OP as da_conv
from dasr_fast.ops.da_conv import flops as flops_of_da_conv
from dasr_fast.ops.da_conv import flops_backward as flops_backward_of_da_conv
from dasr_fast.ops.op import Op

Shape = Sequence[int]


def _flops(x: Shape, kernel: Shape, weight: Shape, bias: Any, gate: Any, conv_weight: Shape, *_: Any) -> int:
    return flops_of_da_conv(x, kernel, weight) + flops_of_conv3x3((x[0], weight[0], *x[2:]), conv_weight)


def _flops_backward(grad: Shape, x: Shape, kernel: Shape, weight: Shape, *others: Any) -> int:
    """Those of all gradients, and of the DA convolution once more."""
    both = _flops(x, kernel, weight, *others)
    return 2 * both - flops_of_da_conv(x, kernel, weight) + flops_backward_of_da_conv(grad, x, kernel, weight)


def _by_parts(backend: Asked, *arguments: Any) -> Tensor:
    """The DA convolution by the backend asked for first, if there are several, and the 3x3 convolution."""
    *of_da_conv, conv_weight, conv_bias, residual, negative_slope, activate = arguments
    first = backend if isinstance(backend, str) else backend[0]
    z = da_conv.compute(first, *of_da_conv, negative_slope, True)
    return conv3x3.compute(backend, z, conv_weight, conv_bias, residual, negative_slope if activate else None)


OP = Op(
    "da_half_block",
    {
        **{"x": "B C H W", "kernel": "B C k k", "weight": "M C", "bias": "M", "gate": "B C=M"},
        **{"conv_weight": "C_out M 3 3", "conv_bias": "C_out", "residual": "B C_out H W", "y": "B C_out H W"},
    },
    flops=_flops,
    flops_backward=_flops_backward,
    otherwise=_by_parts,
)


def da_half_block(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor | None,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    residual: Tensor | None = None,
    *,
    negative_slope: float = 0.1,
    activate: bool = False,
    backend: Asked = "auto",
) -> Tensor:
    """3x3 convolution of `lrelu(da_conv(x, ...))`, then LeakyReLU if `activate`, then `+ residual`.

    Both halves of the released `DAB`: the first with `activate`, the second with the block's input as `residual`.
    Differentiable in all tensors (once). Nothing between the convolutions is kept: the backward pass computes it again.
    The 3x3 convolution's rounding errors on a CPU are those of `conv3x3`. Where `auto` finds no kernel, `da_conv` and
    `conv3x3` compute the op.

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        kernel: Depthwise filters `[B, C, k, k]`, k in 1, 3, 5, 7.
        weight: Pointwise weights `[M, C]`.
        bias: `[M]`, or None.
        gate: Channel modulation `[B, C]`, which needs `M = C`, or None for the first branch alone.
        conv_weight: Weights `[C_out, M, 3, 3]` of the convolution, which pads its input with zeros.
        conv_bias: `[C_out]`, or None.
        residual: `[B, C_out, H, W]`, added last, or None.
        negative_slope: Slope in [0, 1] of every LeakyReLU: 0 is a ReLU, 1 no activation.
        activate: Whether a LeakyReLU follows the 3x3 convolution.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[B, C_out, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type; all have the type of `x`.
        ValueError: A shape, device, slope or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    arguments = (x, kernel, weight, bias, gate, conv_weight, conv_bias, residual, negative_slope, activate)
    return OP(backend, *arguments)
