"""Channel modulation in CUDA: one pass over the features."""

import torch
from torch import Tensor

from dasr_fast.build.library import cuda
from dasr_fast.compiled.cuda.support import obstacle, parts, unsupported_features
from dasr_fast.compiled.layout import channels_last, dense, like

__all__ = ["channel_modulation", "channel_modulation_backward", "obstacle", "unsupported"]


def unsupported(x: Tensor, gate: Tensor, residual: Tensor | None) -> str | None:
    return unsupported_features(x)


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None) -> Tensor:
    """As `dasr_fast.reference.channel_modulation`."""
    x = dense(x)
    y = torch.empty_like(x)
    cuda.channel_modulation(x, gate.contiguous(), None if residual is None else like(x, residual), y)
    return y


def channel_modulation_backward(grad: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """As `dasr_fast.reference.channel_modulation.channel_modulation_backward`."""
    x = dense(x)
    grad_x, grad_gate = torch.empty_like(x), torch.empty_like(gate, memory_format=torch.contiguous_format)
    cuda.channel_modulation_backward(like(x, grad), x, gate.contiguous(), grad_x, grad_gate, _workspace(x))
    return grad_x, grad_gate


def _workspace(x: Tensor) -> Tensor:
    """Memory for sums of parts of a sample, `[B, parts, C]`."""
    b, c, h, w = x.shape
    vector = 16 // x.element_size()
    # Four vectors to a thread, of a block, or, contiguous, of one of a block's eight warps.
    block, warp = 4 * 256 * vector, 4 * 32 * vector
    count = parts(b, c * h * w, block) if channels_last(x) else parts(-(-b * c // 8), h * w, warp)
    return torch.empty(b, count, c, dtype=torch.float32, device=x.device)
