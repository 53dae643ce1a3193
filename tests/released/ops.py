"""The released code's operations one by one, in plain PyTorch: the baseline of ops and of the degradation.

Written for this purpose, to the released code's operations and shapes, since that code itself can't be shipped here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def dynamic_depthwise_conv(x: Tensor, kernel: Tensor, negative_slope: float | None = None) -> Tensor:
    """One convolution with B * C groups."""
    b, c, h, w = x.shape
    k = kernel.shape[-1]
    y = F.conv2d(x.reshape(1, b * c, h, w), kernel.reshape(b * c, 1, k, k), padding=k // 2, groups=b * c)
    y = y.view(b, c, h, w)
    return y if negative_slope is None else F.leaky_relu(y, negative_slope)


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None = None) -> Tensor:
    """A product and a sum."""
    y = x * gate[:, :, None, None]
    return y if residual is None else residual + y


def da_conv(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor,
    negative_slope: float = 0.1,
    activate: bool = False,
) -> Tensor:
    """Grouped convolution, LeakyReLU, 1x1 convolution, product, sum, LeakyReLU, one after the other."""
    y = F.conv2d(dynamic_depthwise_conv(x, kernel, negative_slope), weight[:, :, None, None], bias)
    y = channel_modulation(x, gate, y)
    return F.leaky_relu(y, negative_slope) if activate else y


def conv3x3(
    x: Tensor, weight: Tensor, bias: Tensor | None, residual: Tensor | None = None, negative_slope: float | None = None
) -> Tensor:
    """Convolution, LeakyReLU, sum, one after the other."""
    y = F.conv2d(x, weight, bias, padding=1)
    y = y if negative_slope is None else F.leaky_relu(y, negative_slope)
    return y if residual is None else y + residual


def da_half_block(
    x: Tensor,
    kernel: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    gate: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    residual: Tensor | None = None,
    negative_slope: float = 0.1,
    activate: bool = False,
) -> Tensor:
    """DA convolution with its LeakyReLU, convolution, LeakyReLU or sum, one after the other."""
    y = da_conv(x, kernel, weight, bias, gate, negative_slope, True)
    return conv3x3(y, conv_weight, conv_bias, residual, negative_slope if activate else None)


def blur(hr: Tensor, kernel: Tensor) -> Tensor:
    """One convolution at full resolution with a group for every image and channel; `[B, N, C, H, W]`."""
    b, n, c, h, w = hr.shape
    size = kernel.shape[-1]
    padded = F.pad(hr.view(b, n * c, h, w), 4 * [size // 2], mode="reflect")
    weight = kernel[:, None].repeat(1, n * c, 1, 1).view(b * n * c, 1, size, size)
    return F.conv2d(padded.view(1, b * n * c, *padded.shape[-2:]), weight, groups=b * n * c).view(b, n, c, h, w)


def bicubic_downsample(images: Tensor, scale: int) -> Tensor:
    """Gathers the taps of every row, then, transposed, of every column; `[B, N, C, H, W]`."""
    y = images.flatten(0, 1)
    for _ in range(2):
        index, weights = _contributions(y.shape[2], scale, y.device)
        y = (y[:, :, index, :] * weights[:, :, None]).sum(3).transpose(2, 3)
    return y.view(*images.shape[:2], *y.shape[1:])


def blur_downsample(hr: Tensor, kernel: Tensor, scale: int) -> Tensor:
    """Blur, then bicubic downsampling."""
    return bicubic_downsample(blur(hr, kernel), scale)


def _contributions(size: int, scale: int, device: torch.device) -> tuple[Tensor, Tensor]:
    centre = (torch.arange(size // scale, device=device) + 0.5) * scale - 0.5
    index = torch.floor(centre - 2 * scale)[:, None] + torch.arange(4 * scale + 2, device=device)
    t = ((centre[:, None] - index) / scale).abs()
    inner, outer = 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2
    weights = inner * (t <= 1) + outer * ((t > 1) & (t <= 2))
    used = weights[0] != 0
    weights = weights / weights.sum(1, keepdim=True)
    return index.clamp(0, size - 1).long()[:, used], weights[:, used]


def random_kernels(batch: int, device: torch.device, size: int = 21) -> Tensor:
    """Anisotropic Gaussians `[batch, size, size]` by matrix products and `torch.inverse`."""
    theta = torch.rand(batch).to(device) * math.pi
    widths = torch.rand(batch, 2).to(device) * 3.8 + 0.2
    cos, sin = theta.cos(), theta.sin()
    turn = torch.stack((torch.stack((cos, -sin), 1), torch.stack((sin, cos), 1)), 1)
    precision = torch.inverse(turn @ torch.diag_embed(widths**2) @ turn.transpose(1, 2))
    axis = torch.arange(size, device=device) - size // 2.0
    xy = torch.stack((axis.repeat(size), axis.repeat_interleave(size)), -1)[None].expand(batch, -1, -1)
    kernel = torch.exp(-0.5 * ((xy @ precision) * xy).sum(2)).view(batch, size, size)
    return kernel / kernel.sum((1, 2), keepdim=True)


def degrade(hr: Tensor, scale: int, noise: float) -> Tensor:
    """Training's degradation of `[B, N, C, H, W]`: random kernels, blur, downsampling, noise, rounding."""
    lr = blur_downsample(hr, random_kernels(hr.shape[0], hr.device), scale)
    level = torch.rand(hr.shape[0], 1, 1, 1, 1).to(hr.device) * noise
    return (lr + torch.randn_like(lr) * level).round().clamp(0, 255)
