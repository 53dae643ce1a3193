"""Part `tune`: the fastest launch options of the Triton kernels on this GPU, in kernels/configs/."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from statistics import geometric_mean

from benchmarks.acceptance.part import AbsentError, Asked, Report, said

SPARE = 12
"""Seconds that it takes to start, and to finish the comparison under way."""


def run(asked: Asked, report: Report) -> None:
    """Run benchmarks/tune.py for as long as there is time; on a CPU it only lists what it would try."""
    if importlib.util.find_spec("triton") is None:
        raise AbsentError("it needs the Python package triton")
    command = [sys.executable, "benchmarks/tune.py"]
    command += ["--budget", str(max(1.0, asked.left - SPARE))] if asked.on_gpu else ["--dry-run"]
    status, text = said(command, asked.folder / "tune.txt", asked.left)
    lines = text.strip().splitlines() or ["it said nothing"]
    report.line = next((line for line in reversed(lines) if line.startswith("No time left")), lines[-1])
    failures = [line for line in lines if ": the default " in line and " failed: " in line]
    for line in failures:
        report.fail(line)
    if status:
        report.fail(f"status {status}: {lines[-1]}")
    if asked.on_gpu:
        _keep(asked, report)


def _keep(asked: Asked, report: Report) -> None:
    """A copy of what was written, and what it gains."""
    import torch

    from dasr_fast.kernels.options import CONFIGURATIONS, file_stem

    path = Path(CONFIGURATIONS) / f"{file_stem(torch.cuda.get_device_name())}.json"
    if not path.exists():
        report.fail(f"{path.name} wasn't written")
        return
    shutil.copy(path, asked.folder / f"tuned-{path.name}")
    entries = json.loads(path.read_text())["tuned"]
    gains = [entry["default_milliseconds"] / entry["milliseconds"] for entry in entries]
    faster = sum(gain > 1 for gain in gains)
    report.figures["tuned"] = f"{len(gains)} problems in {path.name}, {faster} of them faster than by default"
    if gains:
        report.figures["gain"] = f"{geometric_mean(gains):.3f} times in the mean, {max(gains):.2f} at most"
