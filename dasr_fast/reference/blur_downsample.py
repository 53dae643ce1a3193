"""Blur, then downsample: the degradation of the paper's Equation 1 without its noise."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.bicubic import bicubic_downsample, bicubic_downsample_adjoint
from dasr_fast.reference.layout import accumulation_dtype, image_format


class After(NamedTuple):
    """The last arguments of `blur_downsample`: what follows downsampling.

    Attributes:
        noise: To add, of the result's shape.
        level: Factors `[B]` of the noise.
        quantize: Whether to round to whole numbers from 0 to 255.
    """

    noise: Tensor | None = None
    level: Tensor | None = None
    quantize: bool = False


def unsupported_in_float32(hr: Tensor, kernel: Tensor, largest: int | None = None) -> str | None:
    """Why kernels in float32, for blurs of at most `largest` rows and columns, can't compute; None if they can."""
    if torch.float64 in (hr.dtype, kernel.dtype):
        return "it computes in float32, and an argument is float64"
    if largest is not None and max(kernel.shape[1:]) > largest:
        return f"it takes kernels of at most {largest}x{largest}, and this is {kernel.shape[1]}x{kernel.shape[2]}"
    return None


def blur_downsample(
    hr: Tensor,
    kernel: Tensor,
    scale: int,
    mode: str,
    noise: Tensor | None = None,
    level: Tensor | None = None,
    quantize: bool = False,
) -> Tensor:
    """Blur every image of a sample with the sample's kernel (reflect padding), then downsample.

    Args:
        hr: Images `[B, N, C, H, W]` or `[B, C, H, W]`, floating point or uint8.
        kernel: Blur kernels `[B, kh, kw]`; an even size is padded by (k // 2, k // 2 - 1).
        scale: Whole factor from 1 to 4.
        mode: "bicubic" (antialiased, with MATLAB's weights; indices of the blurred image are clamped at the edge, where
            MATLAB mirrors) or "s-fold" (every `scale`-th pixel).
        noise, level, quantize: See `After`.

    Returns:
        Images of `H // scale` x `W // scale` in the type of `hr` (of `kernel` for uint8 images).
    """
    dtype = hr.dtype if hr.dtype.is_floating_point else kernel.dtype
    height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
    if hr.numel() == 0:
        return hr.to(dtype)[..., :height, :width].clone(memory_format=image_format(hr))
    wide = accumulation_dtype(dtype)
    images = hr.to(wide).reshape(hr.shape[0], -1, *hr.shape[-2:])  # [B, N * C, H, W]
    y = _correlate(F.pad(images, _padding(kernel), mode="reflect"), kernel.to(wide))
    y = bicubic_downsample(y, scale) if mode == "bicubic" else y[..., ::scale, ::scale][..., :height, :width]
    y = y.reshape(*hr.shape[:-2], height, width)
    if noise is not None:
        factor = 1.0 if level is None else level.to(wide).reshape(-1, *[1] * (hr.dim() - 1))
        y = y + noise.to(wide) * factor
    if quantize:
        y = y.round().clamp(0, 255)
    return y.to(dtype, copy=True, memory_format=image_format(hr))  # A view could not be changed in place.


def blur_downsample_grad_hr(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """Gradient for `hr`."""
    shape, (height, width) = hr.shape, hr.shape[-2:]
    if grad.numel() == 0:
        return grad.new_zeros(shape)
    wide = accumulation_dtype(grad.dtype)
    grad_blurred = grad_of_blurred(grad.to(wide), scale, mode, height, width)
    padded = new_padded(grad_blurred, kernel)  # Only its shape counts.
    grad_padded, _ = _correlate_backward(grad_blurred, padded, kernel.to(wide), [True, False, False])
    return unpadded(grad_padded, kernel).reshape(shape).to(grad.dtype)


def blur_downsample_grad_kernel(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """Gradient for `kernel`."""
    if grad.numel() == 0:
        return torch.zeros_like(kernel, memory_format=torch.contiguous_format)
    wide = accumulation_dtype(grad.dtype)
    images = hr.to(wide).reshape(hr.shape[0], -1, *hr.shape[-2:])
    grad_blurred = grad_of_blurred(grad.to(wide), scale, mode, *hr.shape[-2:])
    padded = F.pad(images, _padding(kernel), mode="reflect")
    _, grad_kernel = _correlate_backward(grad_blurred, padded, kernel.to(wide), [False, True, False])
    return grad_kernel.reshape(hr.shape[0], -1, *kernel.shape[1:]).sum(1).to(kernel.dtype)


def _padding(kernel: Tensor) -> list[int]:
    """Pixels that blur kernels `[B, kh, kw]` need beyond an image: left, right, above, below."""
    kh, kw = kernel.shape[-2:]
    return [kw // 2, (kw - 1) // 2, kh // 2, (kh - 1) // 2]


def new_padded(grad_blurred: Tensor, kernel: Tensor) -> Tensor:
    """Memory for the gradient of padded images, `[B, C, H + kh - 1, W + kw - 1]`."""
    b, c, height, width = grad_blurred.shape
    return grad_blurred.new_empty(b, c, height + kernel.shape[1] - 1, width + kernel.shape[2] - 1)


def unpadded(grad: Tensor, kernel: Tensor) -> Tensor:
    """Adjoint of the reflect padding for these kernels: `[B, C, H + kh - 1, W + kw - 1]` to `[B, C, H, W]`."""
    left, right, top, bottom = _padding(kernel)
    return _unreflect(_unreflect(grad, top, bottom, dim=2), left, right, dim=3)


def _unreflect(grad: Tensor, before: int, after: int, dim: int) -> Tensor:
    """Adjoint of reflect padding along `dim`; PyTorch's own adds atomically on a GPU, in an order that varies."""
    size = grad.shape[dim] - before - after
    inner = grad.narrow(dim, before, size).clone()
    inner.narrow(dim, 1, before).add_(grad.narrow(dim, 0, before).flip(dim))
    inner.narrow(dim, size - 1 - after, after).add_(grad.narrow(dim, before + size, after).flip(dim))
    return inner


def _correlate(images: Tensor, kernel: Tensor) -> Tensor:
    b, n, h, w = images.shape
    weight = kernel.repeat_interleave(n, 0)[:, None]
    y = F.conv2d(images.reshape(1, b * n, h, w), weight, groups=b * n)
    return y.reshape(b, n, *y.shape[-2:])


def _correlate_backward(grad: Tensor, images: Tensor, kernel: Tensor, mask: list[bool]) -> tuple[Tensor, Tensor]:
    b, n, h, w = images.shape
    weight = kernel.repeat_interleave(n, 0)[:, None]
    grad_images, grad_weight, _ = torch.ops.aten.convolution_backward(
        grad.reshape(1, b * n, *grad.shape[-2:]),
        images.reshape(1, b * n, h, w),
        weight,
        None,
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        b * n,
        mask,
    )
    return (grad_images.reshape(b, n, h, w) if mask[0] else grad_images), grad_weight


def grad_of_blurred(grad: Tensor, scale: int, mode: str, height: int, width: int) -> Tensor:
    """Gradient of the blurred images, `[B, N * C, height, width]`: downsampling's adjoint."""
    grad = grad.reshape(grad.shape[0], -1, *grad.shape[-2:])
    if mode == "bicubic":
        return bicubic_downsample_adjoint(grad, scale, height, width)
    h, w = grad.shape[-2:]
    blurred = grad.new_zeros(*grad.shape[:2], height, width)
    blurred[..., : h * scale : scale, : w * scale : scale] = grad
    return blurred
