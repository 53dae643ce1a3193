"""The op `channel_modulation`: features times a factor per sample and channel, plus a residual."""

import torch
from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.op import Op
from dasr_fast.reference.layout import memory_format


def _by_pytorch(_: Asked, x: Tensor, gate: Tensor, residual: Tensor | None) -> Tensor:
    gate = gate[:, :, None, None]
    y = x * gate if residual is None else torch.addcmul(residual, x, gate)
    return y.contiguous(memory_format=memory_format(x))


OP = Op(
    "channel_modulation",
    {"x": "B C H W", "gate": "B C", "residual": "B C H W", "y": "B C H W"},
    otherwise=_by_pytorch,
)


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None = None, *, backend: Asked = "auto") -> Tensor:
    """`x * gate[:, :, None, None] + residual`.

    Differentiable in all tensors (once). Source: `CA_layer` of the released model and the sum after it, paper
    Figure 2(c).

    Args:
        x: Features `[B, C, H, W]`, contiguous or channels-last; any strides are accepted.
        gate: Factors `[B, C]`, of the type and device of `x`.
        residual: `[B, C, H, W]` to add, of the type and device of `x`, or None.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[B, C, H, W]`, in the type and memory format of `x`.

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type.
        ValueError: A shape, device or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    return OP(backend, x, gate, residual)
