"""What people use instead of an op of this project."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.released import ops as released_ops


def unfold_einsum(x: Tensor, kernel: Tensor, negative_slope: float | None = None) -> Tensor:
    """`dynamic_depthwise_conv`: all shifted copies of the features, then a sum of products."""
    b, c, h, w = x.shape
    k = kernel.shape[-1]
    patches = F.unfold(x, k, padding=k // 2).view(b, c, k * k, h, w)
    y = torch.einsum("bcthw,bct->bchw", patches, kernel.flatten(2))
    return y if negative_slope is None else F.leaky_relu(y, negative_slope)


def kornia_depthwise(x: Tensor, kernel: Tensor, negative_slope: float | None = None) -> Tensor:
    """`dynamic_depthwise_conv`: every channel of every sample is an image with its own filter."""
    from kornia.filters import filter2d

    images = x.reshape(-1, 1, *x.shape[-2:])
    y = filter2d(images, kernel.flatten(0, 1), border_type="constant").view(x.shape)
    return y if negative_slope is None else F.leaky_relu(y, negative_slope)


def addcmul(x: Tensor, gate: Tensor, residual: Tensor | None = None) -> Tensor:
    """`channel_modulation` in one pass of PyTorch's."""
    gate = gate[:, :, None, None]
    return x * gate if residual is None else torch.addcmul(residual, x, gate)


def kornia_blur(hr: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """`blur_downsample`: kornia's blur, then the released bicubic downsampling."""
    from kornia.filters import filter2d

    return released_ops.bicubic_downsample(filter2d(hr.flatten(1, 2), kernel).view(hr.shape), scale)


def blur_interpolate(hr: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """The released blur, then PyTorch's bicubic downsampling, which cuts the taps at the border."""
    b, n, c, h, w = hr.shape
    size = (h // scale, w // scale)
    y = F.interpolate(released_ops.blur(hr, kernel).flatten(0, 1), size, mode="bicubic", antialias=True)
    return y.view(b, n, c, *size)


ALTERNATIVES: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "dynamic_depthwise_conv": {"unfold + einsum": unfold_einsum, "kornia filter2d": kornia_depthwise},
    "channel_modulation": {"torch.addcmul": addcmul},
    "blur_downsample": {"kornia filter2d": kornia_blur, "F.interpolate(antialias=True)": blur_interpolate},
}
"""By op and name."""

OTHER = {"F.interpolate(antialias=True)": "border pixels: taps outside of the image are left out, not clamped to it"}
"""How those differ that compute another function."""
