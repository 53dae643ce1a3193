"""The released `BatchBlur` and `bicubic`."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.replacement import PROBED, Example, Plan, Proposal
from dasr_fast.degradation import bicubic_downsample, bicubic_upsample

SCALES = (1, 2, 3, 4)


@dataclass(frozen=True)
class BlurPlan(Plan):
    """`ops.blur_downsample` instead of padding, repeated kernels and a convolution with `B * C` groups.

    Attributes:
        kernel_size: Of the blur kernels.
    """

    released = "BatchBlur"
    kernel_size: int

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        children = list(candidate.children()) if isinstance(candidate, nn.Module) else []
        if len(children) == 1 and isinstance(children[0], nn.ReflectionPad2d):
            left, right, *_ = children[0].padding
            size = left + right + 1
            yield Proposal((_blur_example(size),), [cls(size)])

    def call(
        self, replaced: Any, original: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
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
        if not isinstance(candidate, nn.Module) or any(candidate.children()) or candidate.state_dict():
            return
        forward = type(candidate).forward
        if forward.__module__.startswith("torch.") or len(inspect.signature(forward).parameters) != 3:
            return
        examples = [_bicubic_example(factor) for scale in SCALES for factor in (1 / scale, scale)]
        yield Proposal(tuple(examples), [cls()])

    def call(
        self, replaced: Any, original: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
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
