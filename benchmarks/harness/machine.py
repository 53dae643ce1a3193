"""What figures depend on, and the most that the device can do."""

import platform
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.benchmark import Timer
from torch.utils.collect_env import get_nvidia_driver_version, run

from dasr_fast import __version__, precision
from dasr_fast.device import processor_name
from dasr_fast.ops.backends import BACKENDS, state
from dasr_fast.ops.checks import type_name


def facts(device: str) -> dict[str, Any]:
    """Device, driver, threads, versions and backends; `device` is "cpu" or "cuda"."""
    described = {
        "device": torch.cuda.get_device_name() if device == "cuda" else processor_name(),
        "kind": device,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dasr-fast": __version__,
        "backends": [name for name in BACKENDS if state("da_conv", name) is None],
    }
    if device == "cuda":
        described |= {"cuda": torch.version.cuda, "driver": get_nvidia_driver_version(run)}  # type: ignore[no-untyped-call]
    return described


def file_name(machine: dict[str, Any]) -> str:
    """Name of the machine's file of results, without its ending."""
    threads = f" {machine['instructions']} {machine['threads']} threads" if machine["kind"] == "cpu" else ""
    return re.sub(r"[^a-z0-9]+", "-", f"{machine['device']}{threads}".lower()).strip("-")


def title(machine: dict[str, Any]) -> str:
    """The machine in a few words."""
    threads = f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}"
    processor = f" with {machine['instructions']}, {threads}" if machine["kind"] == "cpu" else ""
    return f"{machine['device']}{processor}, torch {machine['torch']}"


def ceilings(device: str, quick: bool) -> dict[str, float]:
    """Operations a second in each type, but emulated ones, and bytes a second, of what PyTorch does fastest.

    That is the faster of a large matrix product and a large 3x3 convolution, and a large copy. Winograd's convolutions
    do fewer operations than are counted and may exceed it.
    """
    side, length, rounds = (8192, 2**28, 20) if device == "cuda" else (1024 if quick else 2048, 2**25, 10)
    found = {}
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")  # TF32, as convolutions on a GPU have it.
    narrow = [] if precision.emulates_bfloat16(device) else [torch.bfloat16]
    narrow += [torch.float16] if device == "cuda" else []
    for dtype in (torch.float32, *narrow):
        a, b, product = (torch.randn(side, side, device=device).to(dtype) for _ in range(3))
        x = torch.randn(side // 64, 256, 32, 32, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        weight = torch.randn(256, 256, 3, 3, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        calls: dict[Callable[[], Any], int] = {
            partial(torch.mm, a, b, out=product): 2 * side**3,
            partial(F.conv2d, x, weight, padding=1): 18 * 256 * x.numel(),
        }
        found[type_name(dtype)] = max(operations / _fastest(call, rounds) for call, operations in calls.items())
    torch.set_float32_matmul_precision(before)
    source, target = torch.zeros(length, device=device), torch.zeros(length, device=device)
    found["bytes"] = 8 * length / _fastest(partial(target.copy_, source), rounds)
    return found


def _fastest(call: Callable[[], Any], rounds: int) -> float:
    timer = Timer("call()", globals={"call": call}, num_threads=torch.get_num_threads())
    return min(timer.timeit(1).median for _ in range(rounds))
