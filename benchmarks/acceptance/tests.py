"""Part `tests`: the tests of this project that need a GPU."""

import importlib.util
import json
import os
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest as pytest  # Without it the part says that it is absent.

from benchmarks.acceptance.part import Asked, Report, said

FOLDERS = (
    *("ops", "kernels", "compiled", "degradation", "nn", "models", "acceleration", "export", "inference", "training"),
    "test_cuda_graph.py",
)
PROCESSES = 10
HUGE = "2_31"
"""In the names of tests that fill most of a GPU's memory, and so can't run beside others."""


def run(asked: Asked, report: Report) -> None:
    """Run pytest, first for all but the huge ones."""
    path = asked.folder / "tests.jsonl"
    path.unlink(missing_ok=True)
    folders = [f"tests/{name}" for name in FOLDERS] if asked.on_gpu else ["tests/ops/test_backends.py"]
    many = ["-n", str(PROCESSES)] if asked.on_gpu and importlib.util.find_spec("xdist") else []
    _pytest(asked, report, "tests", [*folders, *many, "-k", f"not {HUGE}"], 0.8 * asked.left)
    if asked.on_gpu:
        _pytest(asked, report, "huge", ["tests/kernels/test_gpu.py", "-k", HUGE], asked.left)
    results = read(path)
    counts = Counter(result["outcome"] for result in results)
    report.line = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no test ran"
    report.figures["slowest"] = [
        f"{result['seconds']:.0f} s {result['name']}" for result in sorted(results, key=_seconds, reverse=True)[:3]
    ]
    absent = sorted({name for result in results for name in [lacks(result)] if name})
    if absent:
        report.figures["files left out for want of"] = absent
    for result in results:
        if result["outcome"] in ("failed", "not collected") and not lacks(result):
            report.fail(f"{result['name']}: {cause(result['why'])}")


def _pytest(asked: Asked, report: Report, name: str, arguments: list[str], seconds: float) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "benchmarks.acceptance.gpu_tests", "-p", "no:cacheprovider"]
    command += ["--results-to", str(asked.folder / "tests.jsonl"), "--continue-on-collection-errors", "--tb=short"]
    command += ["--gpu-only"] if asked.on_gpu else []
    # Each process compiles by itself already.
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    status, text = said([*command, *arguments], asked.folder / f"{name}.txt", seconds, environment)
    if status is None:
        report.fail(f"{name}: pytest was stopped after {seconds:.0f} s")
    elif status not in (0, 1, 5) and not read(asked.folder / "tests.jsonl"):
        report.fail(f"{name}: pytest ended with status {status}: {text.strip().splitlines()[-1:]}")


def read(path: Path) -> list[dict[str, Any]]:
    """Results of the tests that have run."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def lacks(result: dict[str, Any]) -> str:
    """The package for want of which a file of tests couldn't be imported; none if that isn't so."""
    missing = re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", result["why"])
    ours = missing is not None and missing[1].split(".")[0] in ("dasr_fast", "benchmarks")
    return "" if missing is None or ours or result["outcome"] != "not collected" else missing[1]


def cause(why: str) -> str:
    """The line of a traceback that says what is wrong."""
    lines = [line for line in why.splitlines() if line.startswith("E ")] or why.strip().splitlines()[-1:]
    return lines[0].removeprefix("E").strip() if lines else "it gives no reason"


def _seconds(result: dict[str, Any]) -> float:
    return float(result["seconds"])
