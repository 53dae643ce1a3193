"""The op `blur_downsample`: every image blurred with its sample's kernel, then downsampled."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.checks import (
    check_device,
    check_flag,
    check_floating,
    check_mode,
    check_scale,
    check_shape,
    check_tensor,
    dimensions,
)
from dasr_fast.ops.op import Op
from dasr_fast.reference.layout import image_format
from dasr_fast.torch_state import needs_gradient

_NAME = "blur_downsample"

Shape = Sequence[int]


def _fake(hr: Tensor, kernel: Tensor, scale: int, *_: Any) -> Tensor:
    shape = (*hr.shape[:-2], hr.shape[-2] // scale, hr.shape[-1] // scale)
    dtype = hr.dtype if hr.dtype.is_floating_point else kernel.dtype
    return torch.empty(shape, dtype=dtype, device=hr.device, memory_format=image_format(hr))


def _flops(hr: Shape, kernel: Shape, scale: int, mode: str, *_: Any) -> int:
    """Those of the blur; of the kept pixels alone where the others aren't needed."""
    pixels = math.prod(hr) if mode == "bicubic" else math.prod(hr[:-2]) * (hr[-2] // scale) * (hr[-1] // scale)
    return 2 * pixels * kernel[1] * kernel[2]


def _flops_backward(grad: Shape, *arguments: Any) -> int:
    return _flops(*arguments)


OP = Op(_NAME, {}, flops=_flops, flops_backward=_flops_backward, fake=_fake)


def blur_downsample(
    hr: Tensor,
    kernel: Tensor,
    scale: int,
    *,
    mode: str = "bicubic",
    noise: Tensor | None = None,
    level: Tensor | None = None,
    quantize: bool = False,
    backend: Asked = "auto",
) -> Tensor:
    """Blur (reflect padding) and downsample images: the degradation of the paper's Equation 1.

    Differentiable in `kernel` and, for floating-point images, in `hr` (once), unless it quantizes. Autocast leaves it
    alone: a grey level is finer than a 16-bit float. Source: `BatchBlur`, `bicubic`, the s-fold branch and the noise of
    `SRMDPreprocessing` in the released code.

    Args:
        hr: Images `[B, N, C, H, W]` (N patches of a sample) or `[B, C, H, W]`, floating point or uint8, of at
            least `scale` pixels and larger than half the kernel on each side.
        kernel: Floating-point blur kernels `[B, kh, kw]`, as they are correlated with the image. Even sizes are
            padded by `k // 2` before and `k // 2 - 1` after.
        scale: Whole factor from 1 to 4; 1 only blurs.
        mode: "bicubic": antialiased, with the weights of MATLAB's `imresize`, indices of the blurred image clamped at
            the edge as in the released code, where MATLAB mirrors; "s-fold": every `scale`-th pixel from the first.
        noise: Floating-point noise to add, of the result's shape, or None.
        level: Factor of each sample's noise, `[B]`, or None for 1.
        quantize: Whether to round to whole grey levels from 0 to 255; such a result has no gradient.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[..., C, H // scale, W // scale]`, in the type of `hr` (of `kernel` for uint8 images).

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type.
        ValueError: A shape, device, scale, mode or backend name is wrong, or noise or level asks for a gradient.
        RuntimeError: The backend asked for can't run.
    """
    for name, tensor in {"hr": hr, "kernel": kernel}.items():
        check_tensor(_NAME, name, tensor)
        if name == "kernel" or tensor.dtype != torch.uint8:
            check_floating(_NAME, name, tensor)
    check_device(_NAME, "kernel", kernel, hr, "hr")
    if hr.dim() not in (4, 5):
        raise ValueError(f"{_NAME}: hr must be [B, N, C, H, W] or [B, C, H, W]; got {list(hr.shape)}.")
    sizes = dict(zip("BNCHW" if hr.dim() == 5 else "BCHW", hr.shape, strict=True))
    check_shape(_NAME, "kernel", kernel, dimensions("B kh kw"), sizes)
    check_scale(_NAME, scale)
    check_mode(_NAME, mode)
    check_flag(_NAME, "quantize", quantize)
    for side, size, taps in zip(("high", "wide"), hr.shape[-2:], kernel.shape[1:], strict=True):
        if size < max(scale, taps // 2 + 1):
            raise ValueError(
                f"{_NAME}: hr must be at least {max(scale, taps // 2 + 1)} pixels {side} for a kernel of {taps} and "
                f"scale {scale}; got {size}."
            )
    scale = int(scale)
    if level is not None and noise is None:
        raise ValueError(f"{_NAME}: level is the noise's, and noise is None.")
    sizes |= {"h": hr.shape[-2] // scale, "w": hr.shape[-1] // scale}
    of_noise = "B N C h w" if hr.dim() == 5 else "B C h w"
    for name, extra, expected in (("noise", noise, of_noise), ("level", level, "B")):
        if extra is None:
            continue
        check_tensor(_NAME, name, extra)
        check_floating(_NAME, name, extra)
        check_shape(_NAME, name, extra, dimensions(expected), sizes)
        check_device(_NAME, name, extra, hr, "hr")
        if needs_gradient(extra):
            raise ValueError(f"{_NAME}: {name} has no gradient here; add noise that needs one to the result.")
    if quantize:
        hr, kernel = hr.detach(), kernel.detach()
    return OP.compute(backend, hr, kernel, scale, mode, noise, level, bool(quantize))
