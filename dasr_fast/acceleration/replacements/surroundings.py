"""What stands around the layers in a network whose forward is its own: 3x3 convolutions and a linear tail.

They have nothing to do with the representation, and are only replaced in models that hold replaced layers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.acceleration.replacement import Plan
from dasr_fast.nn.collapsed_tail import collapses, collapsible, layers_of, run_tail
from dasr_fast.nn.convolution import is_plain
from dasr_fast.ops.backends import choose
from dasr_fast.ops.registration import autocasts
from dasr_fast.torch_state import PLAIN

CHANNELS, PRODUCTS = 32, 8_000_000
"""Channels and multiplications from which on a convolution among other operations is faster (measured with AVX-512).

Alone it is faster earlier. Among others, what is called next finds less of itself in the caches.
"""


@dataclass(frozen=True)
class _SurroundingPlan(Plan):
    """Plan of a module of PyTorch's that takes features alone."""

    def leaves(self, replaced: Any, arguments: Sequence[Any]) -> bool:
        x: Any = arguments[0] if len(arguments) == 1 else None
        return type(x) not in PLAIN or not x.is_cpu or x.dim() != 4 or not self.gains(replaced, x)

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        y = None if keywords else self.compute(replaced, arguments[0])
        return original(*arguments, **keywords) if y is None else y

    def gains(self, module: Any, x: Tensor) -> bool:
        """Whether computing features `[B, C, H, W]` in another way is faster."""
        raise NotImplementedError

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
        if type(module) is not nn.Conv2d or not is_plain(module, 3):
            return False
        return module.in_channels >= CHANNELS

    def gains(self, module: Any, x: Tensor) -> bool:
        return _pays(module, x) and choose("conv3x3", "auto", "cpu", (x, module.weight)) is not None

    def compute(self, module: Any, x: Tensor) -> Tensor | None:
        fits = x.shape[1] == module.in_channels and x.dtype == module.weight.dtype and not autocasts(x.device.type)
        return ops.conv3x3(x, module.weight, module.bias) if fits else None


def _pays(conv: Any, x: Tensor) -> bool:
    return x.shape[0] * x.shape[2] * x.shape[3] * conv.weight.numel() >= PRODUCTS


@dataclass(frozen=True)
class TailPlan(_SurroundingPlan):
    """An upsampler and the convolution after it as one convolution."""

    released = "tail"

    @staticmethod
    def covers(module: nn.Module) -> bool:
        """Whether it is a sequence of 3x3 convolutions and pixel shuffles that ends in images."""
        return type(module) is nn.Sequential and collapsible(layers_of(module))

    def gains(self, module: Any, x: Tensor) -> bool:
        return collapses(x) or _pays(next(part for part in module.modules() if isinstance(part, nn.Conv2d)), x)

    def compute(self, module: Any, x: Tensor) -> Tensor | None:
        return run_tail([*module], x)
