"""Results as plots, each for a light and for a dark page."""

import re
import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.harness.machine import title
from benchmarks.harness.results import Best, Run, ratios
from benchmarks.harness.work import BASELINE
from dasr_fast.files import written_whole

matplotlib.use("agg")

WIDTH = 8.0
"""Inches at 100 pixels each: as wide as a page of a repository shows them."""

SUITES_OF_BARS = {"speedup": ("network", "training", "degradation"), "ops": ("ops",)}


class Theme(NamedTuple):
    """Colours on a page: of text, of what may be read, of lines behind, of contenders and of further lines."""

    name: str
    text: str
    muted: str
    grid: str
    released: str
    ours: str
    half: str
    series: tuple[str, ...]


THEMES = (
    Theme("light", "#1f2328", "#59636e", "#d1d9e0", "#8c959f", "#0969da", "#bc4c00", ("#1a7f37", "#8250df")),
    Theme("dark", "#f0f6fc", "#9198a1", "#3d444d", "#7d8590", "#4493f8", "#f0883e", ("#3fb950", "#ab7df8")),
)


def draw(run: Run, folder: Path, source: str = "") -> list[Path]:
    """Write `<plot>-light.svg` and `<plot>-dark.svg` for each plot that has results, and return their paths.

    `source` says where the results are from, in the files' metadata.
    """
    plots: dict[str, Callable[[Run, Theme], Any]] = {"scaling": scaling}
    plots |= {name: partial(bars, suites=suites) for name, suites in SUITES_OF_BARS.items()}
    written = []
    for name, theme in product(plots, THEMES):
        with plt.rc_context(_style(theme)):
            figure = plots[name](run, theme)
            if figure is not None:
                written.append(folder / f"{name}-{theme.name}.svg")
                with written_whole(written[-1]) as temporary:
                    figure.savefig(temporary, transparent=True, metadata={"Date": None, "Source": source or None})
                plt.close(figure)
    return written


def bars(run: Run, theme: Theme, suites: Sequence[str]) -> Any:
    """For each work the speed-up of the best alternative, of this project, and of this project in 16 bits."""
    labels = {"best alternative": theme.released, "dasr-fast": theme.ours, "dasr-fast in 16 bits": theme.half}
    rows: list[tuple[float, float, str, str]] = []  # Position, speed-up, label, text.
    names: list[tuple[float, str]] = []
    position = 0.0
    for results in (results for (suite, _), results in run.works().items() if suite in suites):
        best, against = Best.of(results), ratios(results)
        kinds = zip(labels, (best.alternative, best.ours, best.narrow), strict=True)
        some = [(label, one.contender) for label, one in kinds if one and one.contender in against]
        if some:
            names.append((position + 0.8 * (len(some) - 1) / 2, results[0].work))
            for index, (label, name) in enumerate(some):
                text = f"{against[name]:.2g}x  {name.removeprefix('released, ')}"
                rows.append((position + 0.8 * index, against[name], label, text))
            position += max(0.8 * len(some), 1.3) + 0.4
    if not rows:
        return None
    figure, axes = plt.subplots(figsize=(WIDTH, 1.0 + 0.2 * position), layout="constrained")
    for place, ratio, label, text in rows:
        axes.barh(place, ratio - 1, left=1, height=0.72, color=labels[label])
        axes.annotate(text, (max(ratio, 1), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1, color=theme.text, linewidth=0.8)
    axes.set_yticks([place for place, _ in names], [textwrap.fill(name, 34) for _, name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(position - 0.6, -0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.9, 0.9 * min(ratio for _, ratio, *_ in rows)), 2.2 * max(ratio for _, ratio, *_ in rows))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.grid(axis="x")
    axes.set_xlabel(f"times as fast as {run.baseline}")
    used = {label for _, _, label, _ in rows}
    _legend(figure, [Patch(label=label, color=colour) for label, colour in labels.items() if label in used])
    axes.set_title(title(run.machine))
    return figure


def scaling(run: Run, theme: Theme) -> Any:
    """Time of the network against LR pixels of one image, x4, with the floor."""
    images = [r for (suite, work), r in run.works().items() if suite == "network" and re.fullmatch(r"x4 of \w+", work)]
    if len(images) < 2:
        return None
    named = {BASELINE: theme.released, "Engine fp32": theme.ours, "Engine bf16": theme.half, "Engine fp16": theme.half}
    named |= dict(zip(("onnxruntime", "OpenVINO"), theme.series, strict=True))
    styles: dict[str, dict[str, Any]] = {name: {"color": c, "marker": "o", "ms": 4} for name, c in named.items()}
    floor = "floor: direct operations at the ceiling"
    styles[floor] = {"color": theme.muted, "linestyle": "--", "linewidth": 1}
    figure, axes = plt.subplots(figsize=(WIDTH, 3.7), layout="constrained")
    for name, style in styles.items():
        timed = [r for results in images for r in results if r.contender == name and r.seconds]
        points = [(result.pixels, median(result.seconds) * 1e3) for result in timed]
        if name == floor:
            points = [(results[0].pixels, least * 1e3) for results in images if (least := run.floor(results[0]))]
        if points:
            axes.plot(*zip(*sorted(points), strict=True), label=name, **style)
    axes.set(xscale="log", yscale="log", xlabel="LR image")
    ticks: dict[Any, str] = {results[0].pixels: results[0].work.removeprefix("x4 of ") for results in images}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid()
    _legend(figure, axes.get_lines())
    figure.suptitle(f"x4, {title(run.machine)}", fontsize=9)
    return figure


def _legend(figure: Any, handles: list[Any]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False)


def _style(theme: Theme) -> dict[Any, Any]:
    """Settings of matplotlib for a theme; the same results give the same file."""
    return {
        "svg.hashsalt": "dasr-fast",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.axisbelow": True,
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), theme.text),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), theme.muted),
    }
