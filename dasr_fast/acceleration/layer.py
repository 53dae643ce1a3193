"""Foreign layers that take features and the representation."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.acceleration.replacement import PROBED, Example, Plan, plan_of
from dasr_fast.acceleration.structure import descendant
from dasr_fast.nn.convolution import features_format, in_memory_format
from dasr_fast.torch_state import PLAIN

NEVER = 2**60
"""More pixels than there are."""


@dataclass(frozen=True)
class Signature:
    """What a layer is called with.

    Attributes:
        channels: Of the features, or of an image.
        representation: Width R of the representation.
        pair: `layer([x, v])`, as in the released code, instead of `layer(x, v)`.
        flat: `v` is `[B, R]`, as in the released code, instead of `[B, R, 1, 1]`.
    """

    channels: int
    representation: int
    pair: bool = True
    flat: bool = True

    def arguments(self, x: Tensor, v: Tensor) -> tuple[Any, ...]:
        """The arguments of a call with features `[B, C, H, W]` and the representation `[B, R]`."""
        v = v if self.flat else v[:, :, None, None]
        return ([x, v],) if self.pair else (x, v)

    def inputs(self, arguments: Sequence[Any]) -> tuple[Tensor, Tensor] | None:
        """Features and the representation `[B, R]` of an ordinary call, or None for any other."""
        if self.pair:
            arguments = arguments[0] if len(arguments) == 1 and isinstance(arguments[0], (list, tuple)) else ()
        if len(arguments) != 2 or not all(type(argument) in PLAIN for argument in arguments):
            return None
        x, v = arguments
        shape = x.shape
        ends = () if self.flat else (1, 1)
        if len(shape) != 4 or shape[1] != self.channels or v.shape != (shape[0], self.representation, *ends):
            return None
        return (x, v if self.flat else v.flatten(1)) if x.is_floating_point() else None

    def examples(self) -> tuple[Example]:
        """A small call."""

        def make(generator: torch.Generator) -> tuple[Any, ...]:
            x = torch.randn(2, self.channels, 6, 5, generator=generator, **PROBED)
            return self.arguments(x, torch.randn(2, self.representation, generator=generator, **PROBED))

        return (make,)


def signatures(channels: int, representation: int) -> Iterator[Signature]:
    """All with these widths, the released code's first."""
    for flat, pair in itertools.product((True, False), (True, False)):
        yield Signature(channels, representation, pair, flat)


@dataclass(frozen=True)
class LayerPlan(Plan):
    """Plan of a layer, which leaves calls that it wasn't made for to the layer's own forward.

    Attributes:
        signature: What the layer is called with.
        any_size: Whether `compute` is used for small features too, where the layer itself is faster.
        _fewest: Numbers of `x` from which on `compute` is used on a CPU.
    """

    signature: Signature
    any_size: bool = field(default=False, kw_only=True)
    _fewest: int = field(init=False, repr=False, compare=False, default=0, kw_only=True)

    def of_any_size(self) -> "LayerPlan":
        return replace(self, any_size=True)

    def __post_init__(self) -> None:
        pixels = 0 if self.any_size else self.fewest_pixels()
        object.__setattr__(self, "_fewest", pixels * self.signature.channels)  # Asked for at every call.

    def fewest_pixels(self) -> int:
        """Pixels of a batch from which on a CPU `compute` is faster than the layer itself, as measured."""
        raise NotImplementedError

    def leaves(self, replaced: nn.Module, arguments: Sequence[Any]) -> bool:
        x: Any = arguments[0] if arguments else None
        x = x[0] if type(x) in (list, tuple) and x else x
        return type(x) in PLAIN and self._is_small(x) and x.is_contiguous()

    def _is_small(self, x: Tensor) -> bool:
        return x.numel() < self._fewest and x.is_cpu

    def call(self, replaced: nn.Module, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        inputs = None if keywords else self.signature.inputs(arguments)
        if inputs is None or self._is_small(inputs[0]) or not self.is_intact(replaced):
            return original(*map(_contiguous, arguments), **keywords)
        return self.compute(replaced, *inputs)

    def compute(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        """The layer's result for features `[B, C, H, W]` and the representation `[B, R]`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Part:
    """A replaced layer inside of another.

    It keeps its plan, so that a call goes on while another thread restores the layer.

    Attributes:
        path: From the layer around it.
        plan: What it computed when it was found.
    """

    path: str
    plan: LayerPlan

    def is_intact(self, layer: nn.Module) -> bool:
        """Whether it still is what it was in the `layer` around it."""
        plan = plan_of(descendant(layer, self.path))
        return plan is self.plan or plan == self.plan

    def __call__(self, layer: nn.Module, x: Tensor, v: Tensor) -> Tensor:
        """Its result for features `[B, C, H, W]` and the representation `[B, R]`, called as it wants to be."""
        y: Tensor = descendant(layer, self.path)(*self.plan.signature.arguments(x, v))
        return y


def parts_of(children: Iterable[tuple[str, nn.Module]], *kinds: type[LayerPlan]) -> tuple[Part, ...]:
    """Those of the children, given with their paths, that were replaced by plans of these kinds."""
    plans = [(path, plan_of(child)) for path, child in children]
    return tuple(Part(path, plan) for path, plan in plans if isinstance(plan, kinds))


def fast_features(x: Tensor) -> Tensor:
    """Features `[B, C, H, W]` in the memory format in which a whole unit computes them fastest."""
    return in_memory_format(x, features_format(x))


def _contiguous(argument: Any) -> Any:
    """The argument with contiguous tensors, since foreign forwards call `view`."""
    if isinstance(argument, Tensor):
        return argument.contiguous()
    return type(argument)(map(_contiguous, argument)) if type(argument) in (list, tuple) else argument
