"""Results as a table, as JSON and as a plot."""

import json
import platform
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import BASELINE, Result, speedups
from dasr_fast import __version__
from dasr_fast.files import written_whole

LABEL = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}


def machine(device: str) -> dict[str, Any]:
    """What the figures depend on; `device` is "cpu" or "cuda"."""
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "dasr-fast": __version__,
    }


def print_table(by_work: list[list[Result]], facts: dict[str, Any]) -> None:
    """A section for each work, a row for each contender."""
    table = Table(title=f"{facts['device']}, {facts['threads']} threads, torch {facts['torch']}, float32")
    for name in ("", "median ms", "spread", "speed-up", "GB/s", "GFLOP/s", "error"):
        table.add_column(name, justify="right" if name else "left")
    for results in by_work:
        ratios = speedups(results)
        table.add_row(f"[bold]{results[0].work.label}")
        for result in results:
            error = "random" if result.error is None else f"{result.error:.0e}"
            ratio = ratios.get(result.contender)
            figures = (
                ("WRONG",) if result.wrong else (*_times(result), f"{ratio:.2f}x" if ratio else "", *_rates(result))
            )
            table.add_row(f"  {result.contender}", *figures, *[""] * (5 - len(figures)), error)
        table.add_section()
    Console().print(table)


def write_json(by_work: list[list[Result]], facts: dict[str, Any], path: Path) -> None:
    """Machine and every sample."""
    content = {
        "machine": facts,
        "results": [
            {
                "suite": result.work.suite,
                "work": result.work.label,
                "contender": result.contender,
                "seconds": result.seconds,
                "error": result.error,
            }
            for results in by_work
            for result in results
        ],
    }
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n")


def plot(by_work: list[list[Result]], facts: dict[str, Any], path: Path) -> None:
    """Bars of the speed-up over the baseline, one for each work and contender."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    rows = [
        (result.work.label, result.contender, speedups(results).get(result.contender))
        for results in by_work
        for result in results
        if result.contender != BASELINE
    ]
    names = dict.fromkeys(name for _, name, _ in rows)
    colours = {name: f"C{index}" for index, name in enumerate(names)}
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.34 * len(rows)), layout="constrained")
    for position, (_, name, ratio) in enumerate(rows):
        axes.barh(position, ratio or 0, color=colours[name], height=0.75)
        axes.text(
            (ratio or 0) + 0.02, position, f"{ratio:.2f}x" if ratio else "wrong", va="center", fontsize=8, bbox=LABEL
        )
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_yticks(range(len(rows)), [label for label, _, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("speed-up over the released operations")
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(f"{facts['device']}, {facts['threads']} threads, float32", fontsize=10)
    figure.legend(
        handles=[Patch(color=colour, label=name) for name, colour in colours.items()],
        loc="outside lower center",
        ncols=len(colours),
        fontsize=8,
        frameon=False,
    )
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


def _times(result: Result) -> tuple[str, str]:
    middle = median(result.seconds)
    spread = (max(result.seconds) - min(result.seconds)) / middle
    return f"{middle * 1e3:.2f}", f"{spread:.0%}"


def _rates(result: Result) -> tuple[str, str]:
    counts, seconds = (result.work.bytes_moved, result.work.operations), median(result.seconds)
    gigabytes, gigaflops = ("" if count is None else f"{count / seconds / 1e9:.1f}" for count in counts)
    return gigabytes, gigaflops


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
