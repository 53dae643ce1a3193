"""Part `sanitizer`: every kernel under NVIDIA's Compute Sanitizer."""

import os
import re
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from benchmarks.acceptance.calls import made
from benchmarks.acceptance.part import AbsentError, Asked, Report, said
from benchmarks.acceptance.tools import find

COMPILING = 0.4
"""Share of the time that may be taken by calls without a tool."""

LONGEST = 30.0
"""Seconds that one of them may take, compiling."""

SPARE = 8.0
"""Seconds before its end at which the part begins no more calls, so that the tools can end."""

TOOLS = ("memcheck", "racecheck", "initcheck")
SUMMARY = re.compile(r"^=+ (?:ERROR|RACECHECK) SUMMARY: (\d+) (?:error|hazard)", re.MULTILINE)
FINDING = re.compile(
    r"^=+ (?!RACECHECK SUMMARY)(.*(?:Invalid|Uninit|Misaligned|[Hh]azard|Race|Error:|returned error).*)$"
)


def run(asked: Asked, report: Report) -> None:
    """Make all calls, once without a tool, so that Triton has compiled its kernels, then with each, all at once."""
    calls = [sys.executable, "-m", "benchmarks.acceptance.calls", "--device", asked.device, "--end"]
    seconds = COMPILING * asked.left
    end = time.monotonic() + seconds
    status, text = said([*calls, str(end)], asked.folder / "calls.txt", min(asked.left, seconds + LONGEST))
    report.figures["without a tool"] = made(text)
    if status != 0:
        report.fail(f"without a tool the calls ended with status {status}: {text.strip().splitlines()[-1:]}")
    if not asked.on_gpu:
        raise AbsentError("Compute Sanitizer is for GPUs")
    sanitizer = find("compute-sanitizer")
    # Each tensor has memory of its own, so that what lies beyond it is nobody's.
    environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}

    def check(tool: str) -> tuple[int | None, str]:
        command = [sanitizer, "--tool", tool, "--print-limit", "20", *calls, str(asked.end - SPARE)]
        return said(command, asked.folder / f"{tool}.txt", asked.left, environment)

    with ThreadPoolExecutor(len(TOOLS)) as pool:
        results = dict(zip(TOOLS, pool.map(check, TOOLS), strict=True))
    judge(results, report)


def judge(results: Mapping[str, tuple[int | None, str]], report: Report) -> None:
    """Note what each tool found, from its exit status and what it said.

    Raises:
        AbsentError: None of them works here.
    """
    lines = []
    for tool, (status, text) in results.items():
        said_of_itself = [line.lstrip("= ") for line in text.splitlines() if line.startswith("=====")]
        summary = SUMMARY.search(text)
        if "Device not supported" in text:
            lines.append(f"{tool} doesn't support this device")
        elif status is None:
            lines.append(f"{tool} was stopped: {made(text)}")
        elif summary is None:
            lines.append(f"{tool} gave no summary: {(said_of_itself or ['it said nothing'])[-1]}")
        else:
            lines.append(f"{tool} found {summary[1]} in {made(text)}")
        found = [match[1] for line in text.splitlines() if (match := FINDING.match(line))]
        for finding in dict.fromkeys(found if "Device not supported" not in text else []):
            report.fail(f"{tool}: {finding}")
        if summary is not None and int(summary[1]) and not found:
            report.fail(f"{tool}: {summary[1]} findings, see {tool}.txt")
        if status and summary is not None and not int(summary[1]):
            report.fail(f"{tool}: the calls ended with status {status}")
    report.line = ", ".join(lines)
    if all(SUMMARY.search(text) is None and status is not None for status, text in results.values()):
        raise AbsentError(report.line)
