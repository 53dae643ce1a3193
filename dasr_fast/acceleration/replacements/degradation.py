"""The released `SRMDPreprocessing` and its parts: what turns HR images into LR ones in training."""

import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.replacement import PROBED, Example, Plan, Proposal, plan_of
from dasr_fast.degradation import bicubic_downsample, bicubic_upsample, gaussian_kernel

SCALES = (1, 2, 3, 4)

_SETTINGS = {"kernel_size", "blur_type", "sig", "sig_min", "sig_max", "theta"}
_SETTINGS |= {f"lambda_{end}" for end in (1, 2, "min", "max")}


@dataclass(frozen=True)
class GaussianKernelPlan(Plan):
    """`degradation.gaussian_kernel`, without inverse matrices; the same random numbers in the same order."""

    released = "Gaussin_Kernel"
    candidates = object

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        if vars(candidate).keys() >= _SETTINGS:
            # Of width 0, which it isn't asked for, the released code makes NaN.
            fixed = candidate.blur_type != "iso_gaussian" or candidate.sig != 0
            yield Proposal((lambda _: (3, True), lambda _: (1, not fixed)), [cls()])

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        if keywords or len(arguments) != 2 or replaced.blur_type not in ("iso_gaussian", "aniso_gaussian"):
            return original(*arguments, **keywords)
        batch, random = arguments
        size = replaced.kernel_size
        if replaced.blur_type == "iso_gaussian":
            sigma = _uniform(batch, replaced.sig_min, replaced.sig_max) if random else _constant(replaced.sig)
            return gaussian_kernel(size, sigma)
        if not random:
            theta = _constant(replaced.theta) / 180 * math.pi
            return gaussian_kernel(size, _constant(replaced.lambda_1), _constant(replaced.lambda_2), theta)
        theta = _on_gpu(torch.rand(batch)) * math.pi
        lambda_1, lambda_2 = (_uniform(batch, replaced.lambda_min, replaced.lambda_max) for _ in range(2))
        return gaussian_kernel(size, lambda_1, lambda_2, theta)


@dataclass(frozen=True)
class BlurPlan(Plan):
    """`ops.blur_downsample` instead of padding, repeated kernels and a convolution with `B * C` groups."""

    released = "BatchBlur"
    kernel_size: int

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        children = list(candidate.children())
        if len(children) == 1 and isinstance(children[0], nn.ReflectionPad2d):
            left, right, *_ = children[0].padding
            size = left + right + 1
            yield Proposal((_blur_example(size),), [cls(size)])

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        if keywords or len(arguments) != 2 or not all(isinstance(argument, Tensor) for argument in arguments):
            return original(*arguments, **keywords)
        images, kernel = arguments
        kernels = (images.shape[0], self.kernel_size, self.kernel_size)
        if images.dim() != 4 or kernel.shape != kernels or images.dtype != kernel.dtype:
            return original(*arguments, **keywords)
        return ops.blur_downsample(images, kernel, 1)


@dataclass(frozen=True)
class BicubicPlan(Plan):
    """Resizing without tables of indices, for whole factors up to 4."""

    released = "bicubic"

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        if any(candidate.children()) or candidate.state_dict():
            return
        forward = type(candidate).forward
        if forward.__module__.startswith("torch.") or len(inspect.signature(forward).parameters) != 3:
            return
        examples = [_bicubic_example(factor) for scale in SCALES for factor in (1 / scale, scale)]
        yield Proposal(tuple(examples), [cls()])

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        bound = inspect.signature(original).bind(*arguments, **keywords)
        bound.apply_defaults()
        images, factor = bound.args
        ordinary = isinstance(images, Tensor) and images.dim() == 4 and images.dtype == torch.float32
        for scale in SCALES if ordinary else ():
            if factor == 1 / scale and min(images.shape[2:]) >= scale:
                return _columns_first(bicubic_downsample(images, scale))
            if factor == scale:
                return _columns_first(bicubic_upsample(images, scale))
        return original(*arguments, **keywords)


@dataclass(frozen=True)
class DegradationPlan(Plan):
    """Blur, downsampling, noise and rounding in one pass; the same random numbers in the same order.

    Attributes:
        kernels: Name of what makes the blur kernels.
        blur, bicubic: Names of what blurs and downsamples.
    """

    released = "SRMDPreprocessing"
    candidates = object
    kernels: str
    blur: str
    bicubic: str

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        parts = dict(candidate.named_children()) if isinstance(candidate, nn.Module) else {}
        plans = {name: plan_of(value) for name, value in (*vars(candidate).items(), *parts.items())}
        names = [name for kind in _PARTS for name, plan in plans.items() if isinstance(plan, kind)]
        settings = vars(candidate)
        if len(names) == len(_PARTS) and {"scale", "mode", "noise"} <= settings.keys() and settings["scale"] in SCALES:
            yield Proposal((_example(random=True), _example(random=False)), [cls(*names)])

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        hr, random = _images_and_random(*arguments, **keywords)
        ordinary = isinstance(hr, Tensor) and hr.dim() == 5 and hr.dtype == torch.float32
        if not ordinary or replaced.scale not in SCALES or replaced.mode not in ("bicubic", "s-fold"):
            return original(*arguments, **keywords)
        return self._degraded(replaced, hr, random)

    @torch.no_grad()
    def _degraded(self, settings: Any, hr: Tensor, random: bool) -> tuple[Tensor, Tensor | None]:
        """LR images `[B, N, C, h, w]` and the kernels, if there are any, for HR images `[B, N, C, H, W]`."""
        batch, patches, channels, height, width = hr.shape
        source, scale = getattr(settings, self.kernels), int(settings.scale)
        blurs = source.blur_type != "iso_gaussian" or source.sig != 0
        kernels = source(batch, random) if blurs else None
        noise = level = None
        if settings.noise > 0:
            level = settings.noise * (torch.rand(batch).to(hr.device) if random else hr.new_ones(batch))
            size = (batch * patches, channels, height // scale, width // scale)
            # As the released bicubic downsampling leaves its result in memory, where the noise is drawn in order.
            like = hr.new_empty(*size[:2], size[3], size[2]).mT if settings.mode == "bicubic" else hr.new_empty(size)
            noise = torch.randn_like(like).view(batch, patches, *size[1:])
        blur = hr.new_ones(batch, 1, 1) if kernels is None else kernels.to(hr.device).expand(batch, -1, -1)
        lr = ops.blur_downsample(hr, blur, scale, mode=settings.mode, noise=noise, level=level, quantize=True)
        return lr, kernels


_PARTS = (GaussianKernelPlan, BlurPlan, BicubicPlan)


def _images_and_random(hr_tensor: Any = None, random: bool = True) -> tuple[Any, bool]:
    return hr_tensor, random


def _on_gpu(numbers: Tensor) -> Tensor:
    return numbers.cuda() if torch.cuda.is_available() else numbers


def _uniform(batch: int, low: float, high: float) -> Tensor:
    return _on_gpu(torch.rand(batch)) * (high - low) + low


def _constant(value: float) -> Tensor:
    return _on_gpu(torch.ones(1)) * value


def _example(random: bool) -> Example:
    batch = 2 if random else 1  # The released code takes one image at a time where nothing is random.
    return lambda generator: (torch.rand(batch, 2, 3, 96, 72, generator=generator, **PROBED) * 255, random)


def _columns_first(images: Tensor) -> Tensor:
    """The images laid out in memory as the released code's are, since noise is drawn in that order."""
    return images.mT.contiguous().mT


def _blur_example(size: int) -> Example:
    def make(generator: torch.Generator) -> tuple[Any, ...]:
        images = torch.rand(2, 3, size + 4, size + 3, generator=generator, **PROBED) * 255
        return images, torch.rand(2, size, size, generator=generator, **PROBED) / size**2

    return make


def _bicubic_example(factor: float) -> Example:
    return lambda generator: (torch.rand(2, 3, 26, 17, generator=generator, **PROBED) * 255, factor)
