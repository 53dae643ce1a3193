"""The op `blur_downsample`: every image blurred with its sample's kernel, then downsampled."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.checks import (
    check_device,
    check_flag,
    check_floating,
    check_mode,
    check_scale,
    check_shape,
    check_tensor,
)
from dasr_fast.ops.registration import compute, define, differentiate, needs_gradient
from dasr_fast.reference.layout import image_format

OP = "blur_downsample"


def blur_downsample(
    hr: Tensor,
    kernel: Tensor,
    scale: int,
    *,
    mode: str = "bicubic",
    noise: Tensor | None = None,
    level: Tensor | None = None,
    quantize: bool = False,
    backend: str = "auto",
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
        backend: "auto" or the name of one; see `dasr-fast doctor`.

    Returns:
        `[..., C, H // scale, W // scale]`, in the type of `hr` (of `kernel` for uint8 images).

    Raises:
        TypeError: An argument isn't a tensor or has a wrong type.
        ValueError: A shape, device, scale, mode or backend name is wrong, or noise or level asks for a gradient.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(OP, "hr", hr)
    check_tensor(OP, "kernel", kernel)
    if hr.dtype != torch.uint8:
        check_floating(OP, "hr", hr)
    check_floating(OP, "kernel", kernel)
    check_device(OP, "kernel", kernel, hr, "hr")
    if hr.dim() not in (4, 5):
        raise ValueError(f"{OP}: hr must be [B, N, C, H, W] or [B, C, H, W]; got {list(hr.shape)}.")
    if kernel.dim() != 3 or kernel.shape[0] != hr.shape[0] or min(kernel.shape[1:]) < 1:
        raise ValueError(
            f"{OP}: kernel must be [B, kh, kw] with B = {hr.shape[0]} as hr has it; got {list(kernel.shape)}."
        )
    check_scale(OP, scale)
    check_mode(OP, mode)
    check_flag(OP, "quantize", quantize)
    for side, size, taps in zip(("high", "wide"), hr.shape[-2:], kernel.shape[1:], strict=True):
        if size < max(scale, taps // 2 + 1):
            raise ValueError(
                f"{OP}: hr must be at least {max(scale, taps // 2 + 1)} pixels {side} for a kernel of {taps} and "
                f"scale {scale}; got {size}."
            )
    scale = int(scale)
    _check_noise(hr, scale, noise, level)
    if quantize:
        hr, kernel = hr.detach(), kernel.detach()
    return compute(OP, _forward, backend, (hr, kernel, scale, mode, noise, level, bool(quantize)))


def _check_noise(hr: Tensor, scale: int, noise: Tensor | None, level: Tensor | None) -> None:
    if level is not None and noise is None:
        raise ValueError(f"{OP}: level is the noise's, and noise is None.")
    shapes = {
        "noise": (noise, (*hr.shape[:-2], hr.shape[-2] // scale, hr.shape[-1] // scale), "the result's shape"),
        "level": (level, hr.shape[:1], "[B]"),
    }
    for name, (tensor, shape, meaning) in shapes.items():
        if tensor is None:
            continue
        check_tensor(OP, name, tensor)
        check_floating(OP, name, tensor)
        check_shape(OP, name, tensor, shape, meaning)
        check_device(OP, name, tensor, hr, "hr")
        if needs_gradient(tensor):
            raise ValueError(f"{OP}: {name} has no gradient here; add noise that needs one to the result.")


def _fake(
    hr: Tensor,
    kernel: Tensor,
    scale: int,
    mode: str,
    noise: Tensor | None,
    level: Tensor | None,
    quantize: bool,
    backend: str,
) -> Tensor:
    shape = (*hr.shape[:-2], hr.shape[-2] // scale, hr.shape[-1] // scale)
    dtype = hr.dtype if hr.dtype.is_floating_point else kernel.dtype
    return torch.empty(shape, dtype=dtype, device=hr.device, memory_format=image_format(hr))


def _fake_grad_hr(grad: Tensor, kernel: Tensor, scale: int, mode: str, height: int, width: int, backend: str) -> Tensor:
    return grad.new_empty(*grad.shape[:-2], height, width)


def _fake_grad_kernel(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str, backend: str) -> Tensor:
    return kernel.new_empty(kernel.shape)


def _flops(hr: Sequence[int], kernel: Sequence[int], scale: int, mode: str, *_: Any, **__: Any) -> int:
    """Those of the blur; of the kept pixels alone where the others aren't needed."""
    pixels = math.prod(hr) if mode == "bicubic" else math.prod(hr[:-2]) * (hr[-2] // scale) * (hr[-1] // scale)
    return 2 * pixels * kernel[1] * kernel[2]


def _flops_grad_hr(
    grad: Sequence[int], kernel: Sequence[int], scale: int, mode: str, height: int, width: int, *_: Any, **__: Any
) -> int:
    return _flops((*grad[:-2], height, width), kernel, scale, mode)


def _flops_grad_kernel(
    grad: Sequence[int], hr: Sequence[int], kernel: Sequence[int], scale: int, mode: str, *_: Any, **__: Any
) -> int:
    return _flops(hr, kernel, scale, mode)


_forward = define(
    OP,
    OP,
    "(Tensor hr, Tensor kernel, int scale, str mode, Tensor? noise, Tensor? level, bool quantize, str backend) "
    "-> Tensor",
    _fake,
    _flops,
)
_grad_hr = define(
    OP,
    f"{OP}_grad_hr",
    "(Tensor grad, Tensor kernel, int scale, str mode, SymInt height, SymInt width, str backend) -> Tensor",
    _fake_grad_hr,
    _flops_grad_hr,
)
_grad_kernel = define(
    OP,
    f"{OP}_grad_kernel",
    "(Tensor grad, Tensor hr, Tensor kernel, int scale, str mode, str backend) -> Tensor",
    _fake_grad_kernel,
    _flops_grad_kernel,
)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    hr, kernel, ctx.scale, ctx.mode, _, _, _, ctx.backend = inputs
    ctx.size = hr.shape[-2:]
    ctx.save_for_backward(hr, kernel)


def _grad(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    hr, kernel = ctx.saved_tensors
    grad_hr = grad_kernel = None
    if ctx.needs_input_grad[0]:
        grad_hr = _grad_hr(grad, kernel, ctx.scale, ctx.mode, *ctx.size, ctx.backend)
    if ctx.needs_input_grad[1]:
        grad_kernel = _grad_kernel(grad, hr, kernel, ctx.scale, ctx.mode, ctx.backend)
    return grad_hr, grad_kernel, None, None, None, None, None, None


differentiate(OP, _grad, _save)
