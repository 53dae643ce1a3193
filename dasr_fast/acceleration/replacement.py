"""Foreign objects that compute in another way and stay the same objects.

A replaced object gets a subclass of its own class, whose forward does what a *plan* says. So parameters, buffers, keys,
hooks, flags and types stay what they are, whoever holds the object sees the change, and copies, also those by
DataParallel and pickle, behave alike.
"""

import copyreg
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from dasr_fast.torch_state import is_traced, observer

PROBED: Any = {"dtype": torch.float32, "device": "cpu"}
"""What is probed, whatever PyTorch's defaults are."""

Example = Callable[[torch.Generator], tuple[Any, ...]]
"""Makes the arguments of a call, with numbers from the generator."""


class Plan:
    """What an object computes, where its parts are, and how to compute it fast."""

    released: ClassVar[str]
    """Name of the released class whose objects it is for."""
    candidates: ClassVar[type] = nn.Module
    """Class of the objects for which there may be proposals; all are called like functions."""
    asks_for_observers: ClassVar[bool] = False
    """Whether `call` decides itself what to do while an `observer` follows the operations."""

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator["Proposal"]:
        """What `candidate` may be, by its structure; nothing if it can't be this."""
        raise NotImplementedError

    @classmethod
    def is_likely(cls, candidate: Any) -> bool:
        """Whether users will ask why `candidate`, for which there are proposals, isn't replaced."""
        return False

    def of_any_size(self) -> "Plan":
        """The same plan, which doesn't leave small inputs to the object itself; for comparing both."""
        return self

    def leaves(self, replaced: Any, arguments: Sequence[Any]) -> bool:
        """Whether the object itself computes a call in any case; a few operations on a CPU are asked before others."""
        return False

    def is_intact(self, replaced: Any) -> bool:
        """Whether the object's parts are still what the plan says, and nobody watches those that aren't called."""
        return True

    def call(self, replaced: Any, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        """What `original(*arguments, **keywords)`, the forward of `replaced`, returns."""
        raise NotImplementedError


@dataclass(frozen=True)
class Proposal:
    """One way an object may be called, and what it may then compute.

    Attributes:
        examples: Calls that are compared.
        plans: The likeliest first.
    """

    examples: tuple[Example, ...]
    plans: Iterable[Plan]


def replace(candidate: Any, plan: Plan) -> None:
    """Make `candidate` compute by `plan`.

    Raises:
        TypeError: Its class allows no other.
    """
    original: type = type(candidate)
    candidate.__class__ = _replaced_class(original)
    candidate.__dict__[_PLAN] = plan


def restore(replaced: Any) -> None:
    """Give a replaced object its own class back; calls of other threads go on."""
    replaced.__class__ = _own_class(replaced)
    replaced.__dict__.pop(_PLAN, None)


def restored_copy(replaced: Any) -> Any:
    """A shallow copy of a replaced object, which isn't replaced."""
    twin: Any = object.__new__(_own_class(replaced))
    twin.__dict__.update(replaced.__dict__)
    twin.__dict__.pop(_PLAN, None)
    return twin


def is_replaced(candidate: Any) -> bool:
    """Whether `replace` was called, and `restore` may be."""
    return _ORIGINAL in vars(type(candidate))


def plan_of(candidate: Any) -> Plan | None:
    """The plan of a replaced object; None for any other."""
    return candidate.__dict__.get(_PLAN) if isinstance(candidate, _Replaced) else None


def _follows_sizes() -> bool:
    """Whether comparing sizes would become part of a program, and cost more than it saves."""
    return torch.compiler.is_compiling() or is_traced()


# Longer than any name that foreign classes have, since they would hide it.
_PLAN = "_dasr_fast_replacement_plan"
_ORIGINAL = "_dasr_fast_original_class"


class _Replaced:
    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = super().__reduce_ex__(max(2, protocol))
        if not isinstance(reduced, tuple) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return reduced
        return _new, (getattr(type(self), _ORIGINAL), *reduced[1][1:]), *reduced[2:]


def _own_class(replaced: Any) -> type:
    own: type = vars(type(replaced)).get(_ORIGINAL, type(replaced))
    return own


def _planned(original: type, method: str) -> Callable[..., Any]:
    """The method of a replaced object: what its plan says, or the original where somebody follows the operations.

    Another thread may restore the object at any time, so that the class is given and not asked for.
    """

    @functools.wraps(getattr(original, method))
    def call(self: Any, *arguments: Any, **keywords: Any) -> Any:
        plan: Plan | None = self.__dict__.get(_PLAN)
        if plan is None or (not _follows_sizes() and plan.leaves(self, arguments)):
            return getattr(original, method)(self, *arguments, **keywords)
        own = functools.partial(getattr(original, method), self)
        if not plan.asks_for_observers and observer() is not None:
            return own(*arguments, **keywords)
        return plan.call(self, own, *arguments, **keywords)

    return call


@functools.cache
def _replaced_class(original: type) -> type:
    method = "forward" if issubclass(original, nn.Module) else "__call__"
    alike = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    own = {_ORIGINAL: original, method: _planned(original, method)}
    return type(original.__name__, (_Replaced, original), own | alike)


def _new(original: type, *arguments: Any) -> Any:
    replaced = _replaced_class(original)
    return replaced.__new__(replaced, *arguments)
