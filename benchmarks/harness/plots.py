"""Results as plots, each for a light and for a dark page."""

import textwrap
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
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

    Args:
        run: All results.
        folder: It exists.
        source: Where the results are from, for the files' metadata.
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
    figure, (axes,) = _figure(1.0 + 0.2 * position)
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
    """Time of the network against LR pixels of one image, and against the batch, with the floor."""
    everything = [results for (suite, _), results in run.works().items() if suite == "scaling"]
    images = [results for results in everything if "batch" not in results[0].work]
    batches = [results for results in everything if results[0].work.startswith("x4 of 48x48")]
    if not images:
        return None
    panels = [(images, "LR image"), *([(batches, "batch of 48x48")] if len(batches) > 1 else [])]
    figure, side_by_side = _figure(3.7, columns=len(panels))
    contenders = list(dict.fromkeys(r.contender for results in everything for r in results if r.seconds))
    further = iter((*theme.series, theme.text, theme.muted))
    fixed = {BASELINE: theme.released, "Engine fp32": theme.ours, "Engine fp16": theme.half}
    styles: dict[str, dict[str, Any]] = {
        name: {"color": fixed.get(name) or next(further), "marker": "o", "markersize": 4} for name in contenders
    }
    floor = "floor: direct operations at the ceiling"
    styles[floor] = {"color": theme.muted, "linestyle": "--", "linewidth": 1}
    for axes, (works, label) in zip(side_by_side, panels, strict=True):
        lines: dict[str, list[tuple[int, float]]] = {name: [] for name in styles}
        for results in works:
            pixels = results[0].pixels or 0
            for result in results:
                if result.seconds:
                    lines[result.contender].append((pixels, median(result.seconds) * 1e3))
            if least := run.floor(results[0]):
                lines[floor].append((pixels, least * 1e3))
        for name, points in lines.items():
            axes.plot(*zip(*sorted(points), strict=True), **styles[name])
        axes.set(xscale="log", yscale="log", xlabel=label)
        ticks = {r[0].pixels: r[0].work.split("batch ")[-1].removeprefix("x4 of ") for r in works}
        if works is batches:
            ticks = {pixels: "1" if "x" in tick else tick for pixels, tick in ticks.items()}
        axes.set_xticks(list(ticks), list(ticks.values()))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g} ms")
        axes.yaxis.set_minor_locator(NullLocator())
        axes.grid()
    _legend(figure, [Line2D([], [], label=name, **style) for name, style in styles.items()])
    figure.suptitle(f"x4, {title(run.machine)}", fontsize=9)
    return figure


def _figure(height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(1, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False)
    return figure, list(axes.flat)


def _legend(figure: Any, handles: list[Any]) -> None:
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 4), frameon=False)


def _style(theme: Theme) -> dict[Any, Any]:
    """Settings of matplotlib for a theme; the same results give the same file."""
    return {
        "svg.hashsalt": "dasr-fast",
        "font.size": 8.5,
        "axes.titlesize": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.labelcolor", "ytick.labelcolor"), theme.text),
        **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), theme.muted),
    }
