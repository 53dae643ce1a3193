"""Foreign objects that compute in another way and stay the same objects.

A replaced object gets a subclass of its own class, whose forward does what a *plan* says. So parameters, buffers, keys,
hooks, flags and types stay what they are, whoever holds the object sees the change, and copies, also those by
DataParallel and pickle, behave alike.
"""

import copyreg
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

PROBED: Any = {"dtype": torch.float32, "device": "cpu"}
"""What is probed, whatever PyTorch's defaults are."""

Example = Callable[[torch.Generator], tuple[Any, ...]]
"""Makes the arguments of a call, with numbers from the generator."""


class Plan:
    """What an object computes, where its parts are, and how to compute it fast."""

    released: ClassVar[str]
    """Name of the released class whose objects it is for."""

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator["Proposal"]:
        """What `candidate` may be, by its structure; nothing if it can't be this."""
        raise NotImplementedError

    def call(
        self, replaced: Any, original: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
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
    """Give a replaced object its own class back."""
    replaced.__class__ = vars(type(replaced))[_ORIGINAL]
    del replaced.__dict__[_PLAN]


def is_replaced(candidate: Any) -> bool:
    """Whether `replace` was called, and `restore` may be."""
    return _ORIGINAL in vars(type(candidate))


def plan_of(candidate: Any) -> Plan | None:
    """The plan of a replaced object; None for any other."""
    return candidate.__dict__[_PLAN] if isinstance(candidate, _Replaced) else None


# Longer than any name that foreign classes have, since they would hide it.
_PLAN = "_dasr_fast_replacement_plan"
_ORIGINAL = "_dasr_fast_original_class"


class _Replaced:
    def __reduce_ex__(self, protocol: Any) -> Any:
        reduced = super().__reduce_ex__(max(2, protocol))
        if not isinstance(reduced, tuple) or reduced[0] is not copyreg.__newobj__:  # type: ignore[attr-defined]
            return reduced
        return _new, (getattr(type(self), _ORIGINAL), *reduced[1][1:]), *reduced[2:]


class _ReplacedModule(_Replaced, nn.Module):
    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.__dict__[_PLAN].call(self, super().forward, arguments, keywords)


class _ReplacedObject(_Replaced):
    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self.__dict__[_PLAN].call(self, super().__call__, arguments, keywords)  # type: ignore[misc]


@functools.cache
def _replaced_class(original: type) -> type:
    base = _ReplacedModule if issubclass(original, nn.Module) else _ReplacedObject
    alike = {name: getattr(original, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(original.__name__, (base, original), {_ORIGINAL: original, **alike})


def _new(original: type, *arguments: Any) -> Any:
    replaced = _replaced_class(original)
    return replaced.__new__(replaced, *arguments)
