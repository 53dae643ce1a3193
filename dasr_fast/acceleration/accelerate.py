"""Models of the DASR code base and their like, made faster in place."""

import logging
import threading
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

from dasr_fast.acceleration.layer import LayerPlan
from dasr_fast.acceleration.probe import find_plan
from dasr_fast.acceleration.replacement import Plan, is_replaced, plan_of, replace, restore
from dasr_fast.acceleration.replacements.blind_sr import BlindSRPlan
from dasr_fast.acceleration.replacements.da_block import DABlockPlan
from dasr_fast.acceleration.replacements.da_conv import DAConvPlan
from dasr_fast.acceleration.replacements.dasr import DAGroupPlan, DASRPlan
from dasr_fast.acceleration.replacements.degradation import BicubicPlan, BlurPlan, DegradationPlan, GaussianKernelPlan
from dasr_fast.acceleration.replacements.moco import MoCoPlan
from dasr_fast.acceleration.replacements.surroundings import ConvolutionPlan, TailPlan
from dasr_fast.acceleration.structure import CONTAINERS, flattened
from dasr_fast.models.adopt import as_blind_sr

KINDS: tuple[type[Plan], ...] = (
    DASRPlan,
    DAGroupPlan,
    DABlockPlan,
    DAConvPlan,
    MoCoPlan,
    DegradationPlan,
    GaussianKernelPlan,
    BlurPlan,
    BicubicPlan,
)
"""What is looked for, the largest first."""

_ENCODER = "E.encoder_q.E.0.weight"  # A key that every whole BlindSR has.

logger = logging.getLogger("dasr_fast")

Model = TypeVar("Model")


@dataclass(frozen=True)
class Report:
    """What `accelerate` did to a model.

    Attributes:
        replaced: The released class that each replaced object was found to be like, by its path in the model.
        left: Why an object that looked like one of them was left alone, by its path.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = Counter(self.replaced.values())
        done = ", ".join(f"{count} {name}" for name, count in counts.items()) or "nothing"
        paths: dict[str, list[str]] = {}
        for path, why in self.left.items():
            paths.setdefault(why, []).append(path or "the model")
        left = [
            f"Left {first}{f' and {len(others)} like it' if others else ''}: {why}."
            for why, (first, *others) in paths.items()
        ]
        return "\n".join([f"Replaced {done}.", *left])


def accelerate(model: Model, *, inference: bool = False) -> Model:
    """Make a model of the DASR code base, or one like it, faster in place.

    It looks for the released modules by structure, and has those compute with `dasr_fast.ops` for which a probe finds
    the same results and gradients; docs/accelerate.md tells how. All objects (modules, parameters, buffers, wrappers
    such as DataParallel), keys, hooks and modes stay. What isn't recognised is left alone. What was done is logged
    ("dasr_fast": INFO, or WARNING if something was left) and told by `report`.

    The original forward computes where its operations are followed or transformed: `torch.export`, tracing,
    `torch.func`, forward-mode differentiation, FLOP counters, fake tensors, hooks on all modules. `torch.compile` takes
    the ops. Other threads may call the model at the same time. The result has first derivatives only. It can be copied
    and pickled; files made by pickling whole modules need dasr_fast where they are read, state dicts don't.

    Args:
        model: A module, on any device and of any floating type, inside DataParallel or not; a released
            `SRMDPreprocessing`; or an object, list or dict that holds such.
        inference: Whether a whole `BlindSR` computes by `inference.Engine` in evaluation mode; its results then have
            no gradient. The engine is made at the first call, and again when the model has changed, also through
            `Tensor.data`: each call reads all weights, and on a GPU waits for that. Where the engine can't be used
            (the model became another one, or has hooks; `torch.compile` and the others above), the model's own forward
            computes, and a warning says so once.

    Returns:
        `model` itself.

    Raises:
        TypeError: It is no object that could hold a module.
    """
    with _ONE_AT_A_TIME:
        replaced = _replace_parts(_checked("accelerate", model))
        if inference:
            replaced |= _use_engine(model)
        left = report(model).left
    logger.log(logging.WARNING if left else logging.INFO, "accelerate: %s", Report(replaced, left))
    return model


def revert(model: Model) -> Model:
    """Undo `accelerate`: every object in `model`, which is returned, computes as it did.

    Raises:
        TypeError: As `accelerate`.
    """
    with _ONE_AT_A_TIME:
        for _, candidate in _parts(_checked("revert", model)):
            _LEFT.pop(candidate, None)
            if is_replaced(candidate):
                restore(candidate)
    return model


def report(model: Any) -> Report:
    """What `accelerate` has replaced in `model` by now, and what it left when it was last called.

    Raises:
        TypeError: As `accelerate`.
    """
    parts = list(_parts(_checked("report", model)))
    return Report(
        {path: plan.released for path, part in parts if (plan := plan_of(part)) is not None},
        {path: why for path, part in parts if (why := _LEFT.get(part)) is not None},
    )


_LEFT: "WeakKeyDictionary[Any, str]" = WeakKeyDictionary()
"""Why objects were left alone."""

_ONE_AT_A_TIME = threading.RLock()


def _replace_parts(model: Any) -> dict[str, str]:
    """Replace what can be; returns the released class for each path."""
    known: dict[Any, Plan | str | None] = {}
    replaced: dict[str, str] = {}
    for path, candidate in _parts(model):
        if is_replaced(candidate):
            continue
        found = _recognised(candidate, known)
        _LEFT.pop(candidate, None)
        if isinstance(found, Plan):
            replace(candidate, found)
            replaced[path] = found.released
        elif found is not None:
            _LEFT[candidate] = found
    return replaced | _replace_surroundings(model)


def _replace_surroundings(model: Any) -> dict[str, str]:
    """Replace convolutions and tails around replaced layers; returns the released class for each path."""
    parts = [(path, part) for path, part in _parts(model) if isinstance(part, nn.Module)]
    if not any(isinstance(plan_of(part), LayerPlan) for _, part in parts):
        return {}
    covered = {id(part) for _, owner in parts if is_replaced(owner) for part in owner.modules()}
    replaced: dict[str, str] = {}
    for kind in (TailPlan, ConvolutionPlan):
        for path, part in parts:
            if id(part) not in covered and kind.covers(part):
                replace(part, kind())
                replaced[path] = kind.released
                covered |= {id(inner) for inner in part.modules()}
    return replaced


def _checked(name: str, model: Model) -> Model:
    if not isinstance(model, (list, tuple, dict)) and (not hasattr(model, "__dict__") or isinstance(model, type)):
        raise TypeError(
            f"{name}: model must be a module, or an object, list or dict that holds some; got {type(model).__name__}."
        )
    return model


def _parts(model: Any) -> Iterator[tuple[str, Any]]:
    """Paths of the modules in `model`, and of objects called like functions, each after those in it."""
    seen: set[int] = set()

    def inside(owner: Any) -> list[tuple[str, Any]]:  # Lists, since other threads may add something meanwhile.
        if isinstance(owner, Mapping):
            return [(str(key), value) for key, value in list(owner.items())]
        if isinstance(owner, (list, tuple)):
            return [(str(i), value) for i, value in enumerate(owner)]
        children = list(owner.named_children()) if isinstance(owner, nn.Module) else []
        return [*children, *((name, value) for name, value in list(vars(owner).items()) if name not in _MODULE)]

    def walk(path: str, owner: Any) -> Iterator[tuple[str, Any]]:
        seen.add(id(owner))
        for name, value in inside(owner):
            if id(value) not in seen and _may_be_part(value):
                yield from walk(f"{path}.{name}" if path else name, value)
        if _may_be_part(owner) and not isinstance(owner, (list, tuple, dict)):
            yield path, owner

    return walk("", model)


def _may_be_part(value: Any) -> bool:
    if isinstance(value, (nn.Module, list, tuple, dict)):
        return True
    no_instance = isinstance(value, (type, FunctionType, MethodType, Tensor)) or not isinstance(value, Hashable)
    return callable(value) and hasattr(value, "__weakref__") and hasattr(value, "__dict__") and not no_instance


def _recognised(candidate: Any, known: dict[Any, Plan | str | None]) -> Plan | str | None:
    """The plan for an object, or why there is none for one that looks as if there were.

    What is `known` of others by their likeness isn't found out anew, and grows.
    """
    if isinstance(candidate, nn.Module) and any(map(nn.parameter.is_lazy, candidate.parameters())):
        return None
    likeness = _likeness(candidate)
    if likeness not in known:
        known[likeness] = _searched(candidate)
    plan = known[likeness]
    if isinstance(plan, Plan) and "forward" in vars(candidate):
        return "its forward was replaced by something else"
    if isinstance(plan, Plan) and not plan.is_intact(candidate):
        return "there are hooks on parts of it that would no longer be called"
    return plan


def _searched(candidate: Any) -> Plan | str | None:
    reasons: list[str] = []
    for kind in KINDS:
        found = find_plan(candidate, kind)
        if isinstance(found, Plan):
            return found
        reasons += filter(None, [found])
    return reasons[0] if reasons else _unlike(candidate)


def _unlike(candidate: Any) -> str | None:
    """Why a module that holds replaced layers isn't replaced itself, though it doesn't even look like a larger unit."""
    children = flattened(candidate) if isinstance(candidate, nn.Module) and type(candidate) not in CONTAINERS else []
    held = {plan.released for _, child in children if isinstance(plan := plan_of(child), LayerPlan)} - {"DASR"}
    if not held or any(child in _LEFT for _, child in children):  # Which says it all.
        return None
    names = " and ".join(sorted(held))
    return f"{type(candidate).__name__} combines its {names} in a way of its own, so that only those are replaced"


def _likeness(candidate: Any) -> Any:
    """Equal for objects that compute the same, but for the values of their weights."""
    if not isinstance(candidate, nn.Module):
        return id(candidate)
    return tuple(
        (
            name,
            type(part),
            tuple((key, _comparable(value)) for key, value in vars(part).items() if key not in _MODULE),
            tuple((key, tensor.shape) for key, tensor in part.named_parameters(recurse=False)),
            tuple((key, tensor.shape) for key, tensor in part.named_buffers(recurse=False)),
        )
        for name, part in candidate.named_modules()
    )


def _comparable(value: Any) -> Any:
    if value is None or isinstance(value, (int, float, str, Plan)):
        return value
    return tuple(map(_comparable, value)) if isinstance(value, (list, tuple)) else id(value)


_MODULE = vars(nn.Module()).keys()  # Attributes of every module; what is in them is compared by itself.


def _use_engine(model: Any) -> dict[str, str]:
    """Have every whole `BlindSR` use the engine; returns by path those that didn't."""
    used: dict[str, str] = {}
    parts = [(path, part) for path, part in _parts(model) if isinstance(part, nn.Module)]
    for path, part in parts:
        if is_replaced(part) or _ENCODER not in part.state_dict():
            continue
        try:
            as_blind_sr(part)
        except (TypeError, ValueError) as error:
            _LEFT[part] = f"the engine can't compute it: {error}".replace("as_blind_sr: ", "").rstrip(".")
        else:
            replace(part, BlindSRPlan())
            used[path] = BlindSRPlan.released
    if isinstance(model, nn.Module) and not any(isinstance(plan_of(part), BlindSRPlan) for _, part in parts):
        _LEFT.setdefault(model, "there is no whole BlindSR in it that the engine could compute")
    return used
