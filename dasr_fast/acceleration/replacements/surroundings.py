"""What stands around the layers in a network whose forward is its own: 3x3 convolutions and a linear tail.

They have nothing to do with the representation, and are only replaced in models that hold replaced layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.layer import PLAIN, is_large
from dasr_fast.acceleration.replacement import Plan
from dasr_fast.nn.collapsed_tail import collapses, collapsible, layers_of, run_tail
from dasr_fast.nn.convolution import is_plain
from dasr_fast.ops.registration import autocasts

FEWEST = 16
"""Channels of a convolution that make it worthwhile."""


@dataclass(frozen=True)
class _SurroundingPlan(Plan):
    """Plan of a module of PyTorch's that takes features alone."""

    def leaves(self, arguments: Sequence[Any]) -> bool:
        x: Any = arguments[0] if len(arguments) == 1 else None
        return type(x) not in PLAIN or not x.is_cpu or x.dim() != 4 or not is_large(x)

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        y = None if keywords else self.compute(replaced, arguments[0])
        return original(*arguments, **keywords) if y is None else y

    def compute(self, module: Any, x: Tensor) -> Tensor | None:
        """The module's result for features `[B, C, H, W]`, or None where it shall compute it itself."""
        raise NotImplementedError


@dataclass(frozen=True)
class ConvolutionPlan(_SurroundingPlan):
    """`ops.conv3x3` on a CPU."""

    released = "Conv2d"

    @staticmethod
    def covers(module: nn.Module) -> bool:
        """Whether it is an ordinary 3x3 convolution of enough channels."""
        return type(module) is nn.Conv2d and is_plain(module, 3) and module.in_channels >= FEWEST

    def compute(self, module: Any, x: Tensor) -> Tensor | None:
        fits = x.shape[1] == module.in_channels and x.dtype == module.weight.dtype and not autocasts(x.device.type)
        return ops.conv3x3(x, module.weight, module.bias) if fits else None


@dataclass(frozen=True)
class TailPlan(_SurroundingPlan):
    """An upsampler and the convolution after it as one convolution."""

    released = "tail"

    @staticmethod
    def covers(module: nn.Module) -> bool:
        """Whether it is a sequence of 3x3 convolutions and pixel shuffles that ends in images."""
        return type(module) is nn.Sequential and collapsible(layers_of(module))

    def compute(self, module: Any, x: Tensor) -> Tensor | None:
        return run_tail([*module], x) if collapses(x) else None
