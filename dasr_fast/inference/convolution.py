"""Convolutions for inference: weights as the kernels read them, and what follows in the same pass where it can."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast import ops


class Convolution:
    """A convolution padded with zeros, then LeakyReLU if asked for, then a sum if asked for.

    3x3 at stride 1 is `ops.conv3x3`; everything else is PyTorch's.

    Args:
        weight: `[C_out, C, k, k]`, k odd.
        bias: `[C_out]`.
        stride: Distance of the outputs.
        negative_slope: Of the LeakyReLU; None for no activation.
        dtype: Type of the features.
        backend: See `dasr_fast.ops`; another computes where it can't.
    """

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        *,
        stride: int = 1,
        negative_slope: float | None = None,
        dtype: torch.dtype,
        backend: str,
    ) -> None:
        self.weight, self.bias = _laid_out(weight.detach().to(dtype)), bias.detach().to(dtype, copy=True)
        self.stride, self.negative_slope, self.backend = stride, negative_slope, backend
        self.is_3x3 = stride == 1 and tuple(weight.shape[2:]) == (3, 3)

    @classmethod
    def of(
        cls,
        module: nn.Conv2d,
        negative_slope: float | None = None,
        *,
        dtype: torch.dtype,
        backend: str,
        gain: float,
    ) -> "Convolution":
        """That of a module at stride 1, for features that come and go multiplied by `gain`."""
        assert module.bias is not None
        bias = module.bias.detach() * gain
        return cls(module.weight, bias, negative_slope=negative_slope, dtype=dtype, backend=backend)

    def __call__(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
        """Features `[B, C, H, W]` to `[B, C_out, ceil(H / stride), ceil(W / stride)]`, the shape of a residual too."""
        slope = self.negative_slope
        if self.is_3x3:
            backend = (self.backend, "auto")
            return ops.conv3x3(x, self.weight, self.bias, residual, negative_slope=slope, backend=backend)
        y = F.conv2d(x, self.weight, self.bias, self.stride, self.weight.shape[-1] // 2)
        if slope is not None:
            F.leaky_relu_(y, slope)
        return y if residual is None else y.add_(residual)


def _laid_out(weight: Tensor) -> Tensor:
    """A copy of `weight`, in memory `[k, k, C, C_out]` on a CPU, where kernels read it so, else channels-last."""
    if weight.device.type == "cpu":
        return weight.permute(2, 3, 1, 0).clone(memory_format=torch.contiguous_format).permute(3, 2, 0, 1)
    return weight.clone(memory_format=torch.channels_last)
