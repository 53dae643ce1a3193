"""Options of a launch: those tuned for the GPU where there are some."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

CONFIGURATIONS = Path(__file__).parent / "configs"

Options = Mapping[str, int]
"""Compile-time arguments of a kernel (block sizes), and `num_warps` and `num_stages`."""


@dataclass(frozen=True)
class Problem:
    """What the best options of a kernel depend on.

    Attributes:
        kernel: Name of the kernel.
        dtype: Type of its first input, as "float16"; "tf32" for float32 whose products are computed so.
        layout: "channels_last" or "contiguous".
        sizes: Batch, channels, height, width, and what else the kernel's tiles must suit, such as a filter's size.
    """

    kernel: str
    dtype: str
    layout: str
    sizes: tuple[int, ...]


def channels_last(x: Tensor) -> bool:
    """Whether neighbouring channels of features `x` `[B, C, H, W]` are neighbours in memory."""
    return x.stride(1) == 1 and x.shape[1] > 1


def problem(kernel: str, x: Tensor, *sizes: int) -> Problem:
    """The problem of running `kernel` on `x` `[B, C, H, W]` (or images `[B, N, C, H, W]`)."""
    layout = "channels_last" if x.dim() == 4 and channels_last(x) else "contiguous"
    return Problem(kernel, str(x.dtype).removeprefix("torch."), layout, sizes)


_forced: dict[str, Options] = {}


@contextmanager
def forced(kernel: str, options: Options) -> Iterator[None]:
    """Launch `kernel` with these options instead of the tuned or default ones."""
    before = dict(_forced)
    _forced[kernel] = options
    try:
        yield
    finally:
        _forced.clear()
        _forced.update(before)


def choose(asked: Problem, default: Options, device: torch.device) -> Options:
    """Options for a problem: those tuned on this GPU for the nearest problem, else `default`."""
    if asked.kernel in _forced:
        return _forced[asked.kernel]
    if device.type != "cuda":
        return default
    found = _tuned_for(asked, device)
    return found if found is not None and found.keys() == default.keys() else default


@lru_cache(maxsize=4096)
def _tuned_for(asked: Problem, device: torch.device) -> Options | None:
    return nearest(asked, tuned(torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)))


@lru_cache
def tuned(device_name: str, capability: tuple[int, int]) -> tuple[tuple[Problem, Options], ...]:
    """Problems and their best options as `benchmarks/gpu/tune.py` stored them for a GPU.

    If it never ran there, those of another GPU of the same compute capability; empty if there is none.
    """
    stored = {path.stem: json.loads(path.read_text()) for path in sorted(CONFIGURATIONS.glob("*.json"))}
    alike = [content for content in stored.values() if content.get("capability") == list(capability)]
    content = stored.get(file_stem(device_name)) or next(iter(alike), {"tuned": []})
    return tuple(
        (Problem(entry["kernel"], entry["dtype"], entry["layout"], tuple(entry["sizes"])), entry["options"])
        for entry in content["tuned"]
    )


def file_stem(device_name: str) -> str:
    """`NVIDIA H200` to `h200`."""
    words = re.findall(r"[a-z0-9]+", device_name.lower())
    return "_".join(word for word in words if word not in ("nvidia", "geforce"))


def nearest(asked: Problem, stored: tuple[tuple[Problem, Options], ...]) -> Options | None:
    """Options of the stored problem whose batch, channels, height and width differ by the least factors.

    Kernel, type, layout and further sizes must be the same.
    """

    def distance(sizes: tuple[int, ...]) -> float:
        return sum(abs(math.log((a + 1) / (b + 1))) for a, b in zip(asked.sizes[:4], sizes[:4], strict=True))

    alike = [
        (distance(known.sizes), index)
        for index, (known, _) in enumerate(stored)
        if replace(known, sizes=known.sizes[4:]) == replace(asked, sizes=asked.sizes[4:])
    ]
    return stored[min(alike)[1]][1] if alike else None
