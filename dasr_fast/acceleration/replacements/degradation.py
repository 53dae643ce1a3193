"""The released `Gaussin_Kernel` and `SRMDPreprocessing`: what turns HR images into LR ones in training."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.replacement import PROBED, Example, Plan, Proposal, plan_of
from dasr_fast.acceleration.replacements.resampling import BicubicPlan, BlurPlan
from dasr_fast.degradation import gaussian_kernel

_SETTINGS = ("blur_type", "sig", "sig_min", "sig_max", "lambda_1", "lambda_2", "theta", "lambda_min", "lambda_max")


@dataclass(frozen=True)
class GaussianKernelPlan(Plan):
    """`degradation.gaussian_kernel`, without inverse matrices; the same random numbers in the same order."""

    released = "Gaussin_Kernel"

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        settings = vars(candidate).keys() if hasattr(candidate, "__dict__") and callable(candidate) else ()
        if "kernel_size" in settings and set(_SETTINGS) <= set(settings):
            # Of width 0, which it isn't asked for, the released code makes NaN.
            fixed = candidate.blur_type != "iso_gaussian" or candidate.sig != 0
            yield Proposal((lambda _: (3, True), lambda _: (1, not fixed)), [cls()])

    def call(
        self, replaced: Any, original: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        if keywords or len(arguments) != 2 or replaced.blur_type not in ("iso_gaussian", "aniso_gaussian"):
            return original(*arguments, **keywords)
        return self.kernels(replaced, *arguments)

    def kernels(self, settings: Any, batch: int, random: bool) -> Tensor:
        """Kernels `[batch, kh, kw]` (or one, if they aren't random), on the GPU if there is one."""
        if settings.blur_type == "iso_gaussian":
            return gaussian_kernel(
                settings.kernel_size,
                _uniform(batch, settings.sig_min, settings.sig_max) if random else _constant(settings.sig),
            )
        if random:
            theta = _on_gpu(torch.rand(batch)) * math.pi
            lambda_1 = _uniform(batch, settings.lambda_min, settings.lambda_max)
            lambda_2 = _uniform(batch, settings.lambda_min, settings.lambda_max)
        else:
            theta = _constant(settings.theta) / 180 * math.pi
            lambda_1, lambda_2 = _constant(settings.lambda_1), _constant(settings.lambda_2)
        return gaussian_kernel(settings.kernel_size, lambda_1, lambda_2, theta)


@dataclass(frozen=True)
class DegradationPlan(Plan):
    """Blur, downsampling, noise and rounding in one pass; the same random numbers in the same order.

    Attributes:
        kernels: Name of what makes the blur kernels.
        blur, bicubic: Names of what blurs and downsamples.
    """

    released = "SRMDPreprocessing"
    kernels: str
    blur: str
    bicubic: str

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        if not hasattr(candidate, "__dict__") or not callable(candidate):
            return
        parts = dict(candidate.named_children()) if isinstance(candidate, nn.Module) else {}
        plans = {name: plan_of(value) for name, value in (*vars(candidate).items(), *parts.items())}
        names = [name for kind in _PARTS for name, plan in plans.items() if isinstance(plan, kind)]
        settings = vars(candidate)
        if (
            len(names) == len(_PARTS)
            and {"scale", "mode", "noise"} <= settings.keys()
            and settings["scale"] in (1, 2, 3, 4)
        ):
            yield Proposal((_example(random=True), _example(random=False)), [cls(*names)])

    def call(
        self, replaced: Any, original: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        hr, random = _images_and_random(*arguments, **keywords)
        ordinary = isinstance(hr, Tensor) and hr.dim() == 5 and hr.dtype == torch.float32
        if not ordinary or replaced.scale not in (1, 2, 3, 4) or replaced.mode not in ("bicubic", "s-fold"):
            return original(*arguments, **keywords)
        with torch.no_grad():
            return self.degrade(replaced, hr, random)

    def degrade(self, settings: Any, hr: Tensor, random: bool) -> tuple[Tensor, Tensor | None]:
        """LR images `[B, N, C, h, w]` and the kernels, if there are any, for HR images `[B, N, C, H, W]`."""
        batch, patches, channels, height, width = hr.shape
        source = getattr(settings, self.kernels)
        kernels = None
        if source.blur_type != "iso_gaussian" or source.sig != 0:
            kernels = source(batch, random)
        scale = int(settings.scale)
        noise = level = None
        if settings.noise > 0:
            level = (
                torch.rand(batch).to(hr.device) * settings.noise if random else hr.new_full((batch,), settings.noise)
            )
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
