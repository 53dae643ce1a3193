"""A DASR model's tensors inside whatever a checkpoint wraps them in."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

WRAPPERS = frozenset({"module", "_orig_mod"})
"""Parts of keys by DataParallel and `torch.compile`, which may stand anywhere in a key."""

FIRST = "G.head.0.weight"
"""A key that every DASR model has."""

DEPTH = 20
"""How many dictionaries inside one another are opened."""

ALL_UPDATES = "weight of all"
"""Name, in what a training run stores of its moving average, of the number by which all sums are divided."""


class _Leaf(NamedTuple):
    path: str
    value: Any
    mapping: int


def plain(key: str) -> str:
    """A key without what DataParallel and `torch.compile` add to it."""
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def find_state(content: Mapping[Any, Any]) -> dict[str, Any]:
    """The values of a DASR model by the released model's keys; empty if there is no such model.

    They may be in dictionaries inside, and have a prefix, such as Lightning's `model.`. Of several models it is one
    with an encoder, then one of averaged weights (`ema` in a name), then the one least deep inside. A checkpoint of a
    training run gives the weights that are the run's result.

    Args:
        content: What a file holds.
    """
    if isinstance(content.get("sr"), Mapping) and isinstance(content.get("learner"), Mapping):
        return _of_run(content)
    leaves = [_Leaf(plain(path), value, mapping) for path, value, mapping in _leaves(content)]
    models = {leaf.path.removesuffix(FIRST): leaf for leaf in leaves if f".{leaf.path}".endswith(f".{FIRST}")}
    if not models:
        return {}

    def rank(prefix: str) -> tuple[bool, bool, int]:
        has_encoder = any(leaf.path.startswith(f"{prefix}E.encoder_q.") for leaf in leaves)
        return not has_encoder, "ema" not in re.split(r"[._]", prefix.lower()), prefix.count(".")

    prefix = min(models, key=rank)
    state = {}
    for path, value, mapping in leaves:
        key = path.removeprefix(prefix)
        beside = mapping == models[prefix].mapping and isinstance(value, Tensor) and not _is_counter(key, value)
        if path.startswith(prefix) and (key.startswith(("G.", "E.")) or beside):
            state[key] = value
    return state


def names_in(content: Mapping[Any, Any], most: int = 5) -> str:
    """The first keys there, for a message."""
    paths = [leaf.path for leaf in _leaves(content)]
    shown = ", ".join(path if len(path) <= 60 else f"{path[:57]}..." for path in paths[:most])
    return f"{shown} and {len(paths) - most} more" if len(paths) > most else shown or "none"


def _leaves(content: Mapping[Any, Any]) -> Iterator[_Leaf]:
    """All that isn't a dictionary, with its path; each dictionary once, as they may hold one another."""
    visited = set()

    def inside(mapping: Mapping[Any, Any], path: str, depth: int) -> Iterator[_Leaf]:
        visited.add(id(mapping))
        for key, value in mapping.items():
            if isinstance(value, Mapping):
                if id(value) not in visited and depth < DEPTH:
                    yield from inside(value, f"{path}{key}.", depth + 1)
            elif isinstance(key, str):
                yield _Leaf(path + key, value, id(mapping))

    return inside(content, "", 0)


def _is_counter(key: str, value: Tensor) -> bool:
    """Whether it is a number beside the model, as the count of updates of an averaged model is."""
    return "." not in key and value.numel() == 1


def _of_run(content: Mapping[Any, Any]) -> dict[str, Any]:
    state = {f"G.{key}": value for key, value in content["sr"].items()}
    state |= {f"E.{key}": value for key, value in content["learner"].items() if str(key).startswith("encoder_q.")}
    average = content.get("average")
    weight = average.get(ALL_UPDATES) if isinstance(average, Mapping) else None
    if isinstance(average, Mapping) and _is_float(weight) and torch.all(weight > 0):
        for key, value in average.items():
            if key in state:
                state[key] = value / weight if _is_float(value) else value
    return state


def _is_float(value: Any) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.dtype == torch.float32 and not (value.is_sparse or value.is_meta)
