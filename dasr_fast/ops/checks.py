"""Checks of arguments: each raises one sentence that names the argument, what came and what is accepted."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)

FILTER_SIZES = (1, 3, 5, 7)
"""Accepted sizes of the dimension "k"."""

Dimensions = tuple[tuple[str, ...], ...]
"""Of a tensor: for each dimension its name, or several that must be the same size; whole numbers are sizes."""


class Argument(NamedTuple):
    """An argument of an op: its type, whether it may be None, and of a tensor the dimensions."""

    name: str
    kind: Any
    optional: bool
    dimensions: Dimensions = ()


def dimensions(written: str) -> Dimensions:
    """Of a tensor written as "B C k k", "C_out C 3 3" or "B C=C_out"."""
    return tuple(tuple(dimension.split("=")) for dimension in written.split())


def check_tensors(op: str, arguments: Sequence[Argument], values: Sequence[Any]) -> None:
    """Tensors must be there, or None if they may."""
    for (name, kind, optional, _), value in zip(arguments, values, strict=True):
        if kind is Tensor and not (optional and value is None):
            check_tensor(op, name, value)


def check_values(op: str, arguments: Sequence[Argument], values: Sequence[Any]) -> None:
    """Dimensions must agree, and all tensors have the first one's floating-point type and device."""
    sizes: dict[str, Any] = {}
    for (name, kind, optional, expected), value in zip(arguments, values, strict=True):
        if optional and value is None:
            continue
        if kind is Tensor:
            check_shape(op, name, value, expected, sizes)
            if value is values[0]:
                check_floating(op, name, value)
            else:
                check_alike(op, name, value, values[0], arguments[0].name)
        elif kind is bool:
            check_flag(op, name, value)
        elif kind is float:
            check_slope(op, value)


def check_tensor(op: str, name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor; got {type(tensor).__name__}.")


def check_shape(op: str, name: str, tensor: Tensor, expected: Dimensions, sizes: dict[str, Any]) -> None:
    """`tensor` must have the expected dimensions, of the sizes that are known; those that aren't are added to them.

    New ones must be at least 1, unless nothing is known yet: the first tensor may be empty.
    """
    shape, known, least = tensor.shape, dict(sizes), 1 if sizes else 0
    right = len(shape) == len(expected)
    for names, size in zip(expected, shape, strict=False):
        for one in names:
            if one not in known and not one.isdigit():
                right = right and (size in FILTER_SIZES if one == "k" else size >= least)
                known[one] = size
            right = right and size == (int(one) if one.isdigit() else known[one])
    if not right:
        raise ValueError(f"{op}: {name} must be {_described(expected, sizes)}; got {list(shape)}.")
    sizes.update(known)


def _described(expected: Dimensions, sizes: dict[str, Any]) -> str:
    written = f"[{', '.join(' = '.join(names) for names in expected)}]"
    if all(len(names) == 1 and names[0] in sizes for names in expected):
        return f"{written} = {[sizes[names[0]] for names in expected]}"
    distinct = dict.fromkeys(name for names in expected for name in names)
    told = [f"{name} = {sizes[name]}" for name in distinct if name in sizes]
    told += [f"k in {', '.join(map(str, FILTER_SIZES))}"] if "k" in distinct else []
    return f"{written} with {' and '.join([*filter(None, [', '.join(told[:-1])]), told[-1]])}" if told else written


def check_floating(op: str, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in FLOATING:
        raise TypeError(f"{op}: {name} must be float32, float16, bfloat16 or float64; got {type_name(tensor.dtype)}.")


def check_alike(op: str, name: str, tensor: Tensor, x: Tensor, x_name: str = "x") -> None:
    """`tensor` must have the type and device of `x`."""
    if tensor.dtype != x.dtype:
        raise TypeError(f"{op}: {name} must be {type_name(x.dtype)} as {x_name} is; got {type_name(tensor.dtype)}.")
    check_device(op, name, tensor, x, x_name)


def check_device(op: str, name: str, tensor: Tensor, x: Tensor, x_name: str = "x") -> None:
    if tensor.device != x.device:
        raise ValueError(f"{op}: {name} must be on {x.device} as {x_name} is; got {tensor.device}.")


def check_slope(op: str, negative_slope: object) -> None:
    if not isinstance(negative_slope, (int, float)) or not 0 <= negative_slope <= 1:
        raise ValueError(
            f"{op}: negative_slope must be from 0 (ReLU) to 1 (no activation); got {shown(negative_slope)}."
        )


def check_flag(op: str, name: str, value: object) -> None:
    if not isinstance(value, (bool, int, np.bool_)):
        raise TypeError(f"{op}: {name} must be True or False; got {shown(value)}.")


def check_scale(op: str, scale: object) -> None:
    """`scale` must be 1, 2, 3 or 4."""
    if isinstance(scale, (bool, Tensor, np.ndarray)) or scale not in (1, 2, 3, 4):
        raise ValueError(f"{op}: scale must be 1, 2, 3 or 4; got {shown(scale)}.")


def check_mode(op: str, mode: object) -> None:
    if not isinstance(mode, str) or mode not in ("bicubic", "s-fold"):
        raise ValueError(f"{op}: mode must be bicubic or s-fold; got {shown(mode)}.")


def shown(value: object) -> str:
    """A value as an error names it: in a line, and of what is larger than a number or a word only the type."""
    if value is None or isinstance(value, (str, bool, int, float, complex)):
        return repr(value)
    return type(value).__name__ if len(repr(value)) > 60 or isinstance(value, (Tensor, np.ndarray)) else repr(value)


def type_name(dtype: torch.dtype) -> str:
    """Such as "float32"."""
    return str(dtype).removeprefix("torch.")


def is_activated(given: dict[str, Any]) -> bool:
    """Whether an op of these arguments ends with an activation, or with one before a sum."""
    return bool(given.get("activate", given.get("negative_slope") is not None))
