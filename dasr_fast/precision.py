"""Numerical precision: which type, and whether TensorFloat-32 is allowed."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

HALF_GAIN = 2.0**-6
"""Factor of the features in float16, whose largest number is 65504: features up to 4 million fit.

The fraction keeps its 11 bits until features fall below 0.004, which is far under a grey level.
"""


@dataclass(frozen=True)
class Precision:
    """How the network computes.

    Attributes:
        name: As users ask for it.
        dtype: Type of weights and features; products are summed in float32.
        gain: Power of two by which the features are scaled, exactly, against overflow.
        tf32: Whether convolutions on a GPU may round their float32 factors to 11 bits.
    """

    name: str
    dtype: torch.dtype
    gain: float = 1.0
    tf32: bool = False


PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision("fp32", torch.float32),
        Precision("tf32", torch.float32, tf32=True),
        Precision("fp16", torch.float16, gain=HALF_GAIN),
        Precision("bf16", torch.bfloat16),
    )
}
"""All precisions by name."""

_CAPABILITIES = {"tf32": (8, 0), "fp16": (7, 0), "bf16": (8, 0)}
_FAST_FP16 = (7, 5)


def choose_precision(name: str, device: torch.device) -> Precision:
    """The precision of that name on that device.

    "auto" is fp16 on NVIDIA GPUs of compute capability 7.5 and newer, bf16 on CPUs with a matrix unit, and fp32
    elsewhere.

    Raises:
        ValueError: There is no such precision, or not on this device.
    """
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else None
    if name == "auto" and device.type == "cpu":
        return PRECISIONS["bf16" if has_matrix_unit() else "fp32"]
    if name == "auto":
        return PRECISIONS["fp32" if capability is None or capability < _FAST_FP16 else "fp16"]
    if name not in PRECISIONS:
        raise ValueError(f"precision must be one of auto, {', '.join(PRECISIONS)}; got {name!r}.")
    needed = _CAPABILITIES.get(name, (0, 0))
    if capability is None and name == "tf32":
        raise ValueError(f"precision tf32 needs an NVIDIA GPU; the model is on {device.type}.")
    if capability is not None and capability < needed:
        raise ValueError(
            f"precision {name} needs a GPU of compute capability {needed[0]}.{needed[1]} or newer; "
            f"this one has {capability[0]}.{capability[1]}."
        )
    return PRECISIONS[name]


@cache
def has_matrix_unit() -> bool:
    """Whether this CPU has AMX, and C++ kernels that use it for bfloat16."""
    from dasr_fast.ops.backends import state  # Which imports all backends.

    if state("da_conv", "cpp") is not None:
        return False
    from dasr_fast.compiled.cpp.support import MATRIX_UNIT

    return MATRIX_UNIT


@cache
def emulates_bfloat16(device: str) -> bool:
    """Whether PyTorch computes in bfloat16 without instructions for it, and so many times slower than in float32."""
    return _seconds_of_product(torch.bfloat16, device) > 4 * _seconds_of_product(torch.float32, device)


def _seconds_of_product(dtype: torch.dtype, device: str) -> float:
    from torch.utils.benchmark import Timer

    factor = torch.ones(256, 256, dtype=dtype, device=device)
    return Timer("factor @ factor", globals={"factor": factor}).blocked_autorange(min_run_time=0.01).median


def _settings() -> tuple[Any, ...]:
    """PyTorch's settings of TensorFloat-32, for products and, since they must agree to be read, both of cuDNN."""
    cudnn: Any = torch.backends.cudnn
    return torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn


_LOCK = threading.Lock()
_before: list[str] = []
_wanted: dict[object, bool] = {}


def _set(values: Sequence[str]) -> None:
    for setting, value in zip(_settings(), values, strict=True):
        setting.fp32_precision = value


def _set_as_wanted() -> None:
    """As the latest block wants it."""
    convolutions = "tf32" if list(_wanted.values())[-1] else "ieee"
    _set(("ieee", convolutions, convolutions))


@contextmanager
def tf32_convolutions(allowed: bool) -> Iterator[None]:
    """Allow or forbid TensorFloat-32 in convolutions on NVIDIA GPUs inside the block; matrix products are in float32.

    PyTorch's settings are restored after the last of the blocks that run at the same time. They belong to the process:
    other threads that compute in float32 meanwhile see them too, and among several blocks the latest has its way.
    """
    wish = object()
    with _LOCK:
        if not _wanted:
            _before[:] = [setting.fp32_precision for setting in _settings()]
        _wanted[wish] = allowed
        _set_as_wanted()
    try:
        yield
    finally:
        with _LOCK:
            del _wanted[wish]
            _set_as_wanted() if _wanted else _set(_before)
