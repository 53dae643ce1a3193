"""Channel modulation: the second branch of the DA convolution (paper Figure 2(c))."""

import torch
from torch import Tensor

from dasr_fast.reference.layout import accumulation_dtype, memory_format


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None) -> Tensor:
    """`x * gate[:, :, None, None] + residual`.

    Args:
        x: Features `[B, C, H, W]`.
        gate: Factors `[B, C]`.
        residual: `[B, C, H, W]` to add, or None.

    Returns:
        `[B, C, H, W]`, in the type and memory format of `x`.
    """
    wide = accumulation_dtype(x.dtype)
    wide_x, wide_gate = x.to(wide), gate.to(wide)[:, :, None, None]
    y = wide_x * wide_gate if residual is None else torch.addcmul(residual.to(wide), wide_x, wide_gate)
    return y.to(x.dtype).contiguous(memory_format=memory_format(x))


def channel_modulation_backward(grad: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients for `x` and `gate`; that of `residual` is `grad` itself."""
    wide = accumulation_dtype(x.dtype)
    grad = grad.to(wide)
    grad_x = grad * gate.to(wide)[:, :, None, None]
    grad_gate = (grad * x.to(wide)).sum(dim=(2, 3))
    return grad_x.to(x.dtype).contiguous(memory_format=memory_format(x)), grad_gate.to(gate.dtype)
