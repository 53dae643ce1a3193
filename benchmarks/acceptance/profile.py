"""Part `profile`: where the time of the network and of a training step goes, and what each kernel makes of the GPU."""

import csv
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType  # type: ignore[attr-defined]
from torch.profiler import ProfilerActivity
from torch.profiler import profile as profiler

from benchmarks.acceptance.calls import made
from benchmarks.acceptance.part import AbsentError, Asked, Report, said
from benchmarks.acceptance.soak import inference, training
from benchmarks.acceptance.tools import find
from dasr_fast.build import record

SPARE = 8.0
"""Seconds before its end at which the part begins no more calls, so that Nsight Compute writes what it has."""

METRICS = {
    "gpu__time_duration.sum": "time",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed": "memory %",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed": "SM %",
    "sm__warps_active.avg.pct_of_peak_sustained_active": "occupancy %",
    "l1tex__data_bank_conflicts_pipe_lsu.sum": "bank conflicts",
    "launch__registers_per_thread": "registers",
    "launch__shared_mem_per_block": "shared",
}


def run(asked: Asked, report: Report) -> None:
    """Tables of PyTorch's profiler, resources of the machine code, and hardware counters if they can be read."""
    calls: dict[str, Callable[[], Any]] = {
        "inference": inference(asked.device, "fp16" if asked.on_gpu else "fp32"),
        "training": training(asked.device, captured=False),
    }
    for name, call in calls.items():
        report.figures[name] = table(call, asked, name)
        report.write(asked.folder)
    report.figures["machine code"] = _or_reason(machine_code, asked)
    report.figures["counters"] = _or_reason(counters, asked)
    report.line = "; ".join(f"{name}: {value}" for name, value in report.figures.items())


def _or_reason(examine: Callable[[Asked], str], asked: Asked) -> str:
    try:
        return examine(asked)
    except AbsentError as error:
        return f"none: {error}"


def table(call: Callable[[], Any], asked: Asked, name: str) -> str:
    """Write a table of a warm call; returns what takes longest."""
    for _ in range(3 if asked.on_gpu else 1):
        call()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if asked.on_gpu else [])]
    with profiler(activities=activities, record_shapes=True) as profiled:
        call()
        if asked.on_gpu:
            torch.cuda.synchronize()
    averages = profiled.key_averages()
    key = "self_device_time_total" if asked.on_gpu else "self_cpu_time_total"
    text = averages.table(sort_by=key, row_limit=40, max_name_column_width=70)
    (asked.folder / f"profile-{name}.txt").write_text(text)
    return share(device_events(averages) if asked.on_gpu else averages, key)


def device_events(events: Iterable[Any]) -> list[Any]:
    """Events of the GPU: what operations and annotations started is their time, too, and would be counted twice."""
    return [one for one in events if one.device_type == DeviceType.CUDA and not one.is_user_annotation]


def share(events: Sequence[Any], key: str) -> str:
    """Which event takes longest by that attribute, and its part of all."""
    total = sum(getattr(one, key) for one in events)
    if not total:
        return "nothing was recorded"
    first = max(events, key=lambda one: getattr(one, key))
    return f"{first.key[:60]} takes {getattr(first, key) / total:.0%}"


def machine_code(asked: Asked) -> str:
    """Write registers, memory and instructions of each compiled kernel.

    Raises:
        AbsentError: There is no cuobjdump, or no library with kernels for GPUs.
    """
    cuobjdump = find("cuobjdump")
    try:
        library = record.require("cuda")
    except record.NotBuilt as error:
        raise AbsentError(str(error)) from None
    usage, code = (
        subprocess.run([cuobjdump, option, str(library)], capture_output=True, text=True).stdout
        for option in ("-res-usage", "-sass")
    )
    rows = resources(usage, code)
    lines = [" ".join(f"{name} {value}" for name, value in row.items()) for row in rows]
    (asked.folder / "machine-code.txt").write_text(_demangled("\n".join(lines)))
    spilled = sum(row["spills"] > 0 for row in rows)
    most = max((row["registers"] for row in rows), default=0)
    return f"{len(rows)} kernels, {spilled} of them with local memory, at most {most} registers"


def resources(usage: str, code: str) -> list[dict[str, Any]]:
    """Of each kernel, from what cuobjdump says of its resources and its instructions."""
    instructions: dict[str, list[str]] = {}
    name = ""
    for line in code.splitlines():
        if found := re.match(r"\s*Function : (\S+)", line):
            name = found[1]
        elif name and (found := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.+?);", line)):
            instructions.setdefault(name, []).append(found[1])
    rows = []
    for name, registers, stack, shared in re.findall(
        r"Function (\S+):\s*\n\s*REG:(\d+) STACK:(\d+) SHARED:(\d+)", usage
    ):
        own = instructions.get(name, [])
        spills = sum(bool(re.search(r"\b(?:LDL|STL)\b", line)) for line in own)
        row = {"registers": int(registers), "stack": int(stack), "shared": int(shared), "spills": spills}
        rows.append({**row, "instructions": len(own), "name": name})
    return sorted(rows, key=lambda row: str(row["name"]))


def _demangled(text: str) -> str:
    try:
        return subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return text


def counters(asked: Asked) -> str:
    """Write hardware counters of every kernel in the sizes of the benchmarks, by Nsight Compute.

    Raises:
        AbsentError: There is none, or it can't read them here.
    """
    if not asked.on_gpu:
        raise AbsentError("Nsight Compute is for GPUs")
    path = asked.folder / "counters.csv"
    command = [find("ncu"), "--csv", "--page", "raw", "--metrics", ",".join(METRICS), "--clock-control", "none"]
    command += ["--kernel-name-base", "demangled", "--kernel-name", f"regex:dasr_fast|{'|'.join(triton_kernels())}"]
    command += ["--log-file", str(path)]
    command += [sys.executable, "-m", "benchmarks.acceptance.calls", "--device", asked.device, "--timed"]
    command += ["--end", str(asked.end - SPARE)]
    status, text = said(command, asked.folder / "ncu.txt", asked.left)
    rows = read_counters(path)
    if not rows:
        lines = [line for line in (*text.splitlines(), *_lines(path)) if line.startswith("==ERROR==")]
        raise AbsentError(f"ncu can't read them here: {lines[0] if lines else f'status {status}'}")
    table = [list(rows[0]), *(list(row.values()) for row in rows)]
    (asked.folder / "counters.txt").write_text("".join(" | ".join(row) + "\n" for row in table))
    return f"{len(rows)} launches in {made(text)}"


def read_counters(path: Path) -> list[dict[str, str]]:
    """Of each launch, from what ncu wrote among other lines: the kernel and its metrics with their units."""
    lines = [line for line in _lines(path) if line.startswith('"')]
    rows = list(csv.DictReader(lines))
    if not rows:
        return []
    units, *launches = rows
    return [
        {"kernel": row["Kernel Name"], "grid": row.get("Grid Size", "")}
        | {short: f"{row[name]} {units[name]}".strip() for name, short in METRICS.items() if name in row}
        for row in launches
    ]


def _lines(path: Path) -> list[str]:
    return path.read_text(errors="replace").splitlines() if path.exists() else []


def triton_kernels() -> list[str]:
    """Names of the functions of all Triton kernels."""
    from dasr_fast import kernels

    names = set()
    for found in pkgutil.iter_modules(kernels.__path__, f"{kernels.__name__}."):
        for name, value in inspect.getmembers(importlib.import_module(found.name)):
            if type(value).__name__ == "JITFunction":
                names.add(name)
    return sorted(names)
