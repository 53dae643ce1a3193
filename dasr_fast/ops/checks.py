"""Checks of arguments: each raises one sentence that names the argument, what came and what is accepted."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

FLOATING = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def check_tensor(op: str, name: str, tensor: object) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{op}: {name} must be a tensor; got {type(tensor).__name__}.")


def check_shape(op: str, name: str, tensor: Tensor, shape: Sequence[int], meaning: str) -> None:
    """`shape` is what is expected, `meaning` how the documentation writes it."""
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{op}: {name} must be {meaning} = {list(shape)}; got {list(tensor.shape)}.")


def check_floating(op: str, name: str, tensor: Tensor) -> None:
    if tensor.dtype not in FLOATING:
        raise TypeError(f"{op}: {name} must be float32, float16, bfloat16 or float64; got {_short(tensor.dtype)}.")


def check_alike(op: str, name: str, tensor: Tensor, x: Tensor, x_name: str = "x") -> None:
    """`tensor` must have the type and device of `x`."""
    if tensor.dtype != x.dtype:
        raise TypeError(f"{op}: {name} must be {_short(x.dtype)} as {x_name} is; got {_short(tensor.dtype)}.")
    check_device(op, name, tensor, x, x_name)


def check_device(op: str, name: str, tensor: Tensor, x: Tensor, x_name: str = "x") -> None:
    if tensor.device != x.device:
        raise ValueError(f"{op}: {name} must be on {x.device} as {x_name} is; got {tensor.device}.")


def check_features(op: str, x: Tensor) -> None:
    if x.dim() != 4:
        raise ValueError(f"{op}: x must be [B, C, H, W]; got {list(x.shape)}.")
    check_floating(op, "x", x)


def check_kernel(op: str, kernel: Tensor, x: Tensor) -> None:
    """`kernel` must be `[B, C, k, k]` with the B and C of `x` and k in 1, 3, 5, 7."""
    size = kernel.shape[-1] if kernel.dim() == 4 else 0
    if size not in (1, 3, 5, 7) or tuple(kernel.shape) != (*x.shape[:2], size, size):
        raise ValueError(
            f"{op}: kernel must be [B, C, k, k] with B = {x.shape[0]} and C = {x.shape[1]} as x has them and "
            f"k in 1, 3, 5, 7; got {list(kernel.shape)}."
        )


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


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
