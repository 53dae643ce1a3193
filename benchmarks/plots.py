"""Results as plots, each for a light and for a dark page."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, NullLocator

from benchmarks.machine import title
from benchmarks.results import Result, Run, ratios
from benchmarks.work import BASELINE
from dasr_fast.files import written_whole
from dasr_fast.ops.backends import BACKENDS

matplotlib.use("agg")

WIDTH = 8.0
"""Inches at 100 pixels each: as wide as a page of a repository shows them."""

SUITES_OF_BARS = {"speedup": ("network", "training", "degradation"), "ops": ("ops",)}


@dataclass(frozen=True)
class Theme:
    """Colours on a page.

    Attributes:
        name: In the names of files.
        text: Of what must be read.
        muted: Of what may be.
        grid: Of lines behind.
        released: Of the baseline and its variants.
        ours: Of this project in the baseline's precision.
        half: Of this project in 16 bits.
        series: Of further lines.
        page: Of the page itself.
    """

    name: str
    text: str
    muted: str
    grid: str
    released: str
    ours: str
    half: str
    series: tuple[str, ...]
    page: str


Entry = tuple[str, dict[str, Any]]
"""Label and style in a legend."""

THEMES = (
    Theme("light", "#1f2328", "#59636e", "#d1d9e0", "#8c959f", "#0969da", "#bc4c00", ("#1a7f37", "#8250df"), "#ffffff"),
    Theme("dark", "#f0f6fc", "#9198a1", "#3d444d", "#7d8590", "#4493f8", "#f0883e", ("#3fb950", "#ab7df8"), "#0d1117"),
)


def draw(run: Run, folder: Path) -> list[Path]:
    """Write `<plot>-light.svg` and `<plot>-dark.svg` for each plot that has results, and return their paths."""
    plots: dict[str, Callable[[Run, Theme], Any]] = {"scaling": scaling, "roofline": roofline}
    plots |= {name: partial(bars, suites=suites) for name, suites in SUITES_OF_BARS.items()}
    written = []
    for name, plot in plots.items():
        for theme in THEMES:
            with plt.rc_context(_style(theme)):
                figure = plot(run, theme)
                if figure is not None:
                    path = folder / f"{name}-{theme.name}.svg"
                    with written_whole(path) as temporary:
                        figure.savefig(temporary, transparent=True, metadata={"Date": None})
                    plt.close(figure)
                    written.append(path)
    return written


def bars(run: Run, theme: Theme, suites: Sequence[str]) -> Any:
    """For each work the speed-up of the best alternative, of this project, and of this project in 16 bits."""
    rows: list[tuple[float, float, str, str]] = []  # Position, speed-up, colour, text.
    names: list[tuple[float, str]] = []
    position = 0.0
    for results in (results for (suite, _), results in run.works().items() if suite in suites):
        best = _best(results, theme)
        if best:
            names.append((position + 0.8 * (len(best) - 1) / 2, results[0].work))
            rows += [
                (position + 0.8 * index, ratio, colour, f"{ratio:.2g}x  {text}")
                for index, (ratio, colour, text) in enumerate(best)
            ]
            position += max(0.8 * len(best), 1.3) + 0.4
    if not rows:
        return None
    figure, (axes,) = _figure(WIDTH, 1.0 + 0.2 * position)
    for place, ratio, colour, text in rows:
        axes.barh(place, ratio - 1, left=1, height=0.72, color=colour)
        axes.annotate(text, (max(ratio, 1), place), (4, 0), textcoords="offset points", va="center", fontsize=8)
    axes.axvline(1, color=theme.text, linewidth=0.8)
    axes.set_yticks([place for place, _ in names], [textwrap.fill(name, 34) for _, name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(position - 0.6, -0.8)
    axes.set_xscale("log", base=2)
    axes.set_xlim(min(0.9, 0.9 * min(ratio for _, ratio, _, _ in rows)), 2.2 * max(ratio for _, ratio, _, _ in rows))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axes.grid(axis="x")
    axes.set_xlabel(f"times as fast as {run.baseline}")
    labels = {theme.released: "best alternative", theme.ours: "dasr-fast", theme.half: "dasr-fast in 16 bits"}
    used = {colour for _, _, colour, _ in rows}
    _legend(figure, [(label, {"color": c}) for c, label in labels.items() if c in used], patches=True)
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
    figure, side_by_side = _figure(WIDTH, 3.7, columns=len(panels))
    contenders = list(dict.fromkeys(result.contender for results in everything for result in results))
    colours = dict(zip(contenders, _colours(contenders, theme), strict=True))
    for axes, (works, label) in zip(side_by_side, panels, strict=True):
        for contender in contenders:
            _line(axes, works, contender, color=colours[contender], marker="o", markersize=4)
        floors = [(r[0].pixels, floor * 1e3) for r in works if r[0].pixels and (floor := run.floor(r[0]))]
        if floors:
            axes.plot(*zip(*sorted(floors), strict=True), color=theme.muted, linestyle="--", linewidth=1)
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
    styles: list[Entry] = [
        (contender, {"color": colours[contender], "marker": "o", "markersize": 4}) for contender in contenders
    ]
    styles.append(("floor: direct operations at the ceiling", {"color": theme.muted, "linestyle": "--"}))
    _legend(figure, styles, patches=False)
    figure.suptitle(f"x4, {title(run.machine)}", fontsize=9)
    return figure


def roofline(run: Run, theme: Theme) -> Any:
    """Operations a second of the ops against operations a byte, under both ceilings."""
    points = [pair for (suite, _), results in run.works().items() if suite == "ops" and (pair := _pair(results))]
    if not points:
        return None
    figure, (axes,) = _figure(WIDTH, 4.4)
    halo = [withStroke(linewidth=3, foreground=theme.page)]
    text = {"fontsize": 8, "textcoords": "offset points", "path_effects": halo}
    lowest: dict[str, tuple[float, float]] = {}
    for intensity, heights, op, one in points:
        axes.plot([intensity] * 2, heights, color=theme.muted, linewidth=0.8, zorder=2)
        for height, colour in zip(heights, (theme.released, theme.ours), strict=True):
            axes.plot(intensity, height, "s" if one else "o", color=colour, markersize=6, zorder=3)
        lowest[op] = min(lowest.get(op, (0.0, float("inf"))), (intensity, min(heights)), key=lambda place: place[1])
    for op, place in lowest.items():
        axes.annotate(op, place, (0, -8), ha="center", va="top", zorder=4, **text)
    peak, bandwidth = run.ceilings["float32"] / 1e9, run.ceilings["bytes"] / 1e9
    left, right = min(x for x, *_ in points) / 6, max(x for x, *_ in points) * 4
    knee = peak / bandwidth
    axes.plot([left, knee, right], [bandwidth * left, peak, peak], color=theme.text, linewidth=1.2, zorder=1)
    axes.annotate(f"{peak:.0f} GFLOP/s", (right, peak), (0, 4), ha="right", **text)
    axes.annotate(f"{bandwidth:.1f} GB/s", (left, bandwidth * left), (10, 0), va="center", **text)
    axes.set(xscale="log", yscale="log", xlabel="operations a byte", ylabel="GFLOP/s, counted as direct operations")
    axes.grid()
    styles = {"released": theme.released, "dasr-fast": theme.ours}
    entries: list[Entry] = [
        (name, {"color": colour, "marker": "o", "linestyle": ""}) for name, colour in styles.items()
    ]
    for name, marker in {"batch": "o", "one image": "s"}.items():
        entries.append((name, {"color": theme.muted, "marker": marker, "linestyle": "", "fillstyle": "none"}))
    _legend(figure, entries, patches=False)
    axes.set_title(f"ops in float32, {title(run.machine)}")
    return figure


def _pair(results: list[Result]) -> tuple[float, list[float], str, bool] | None:
    """Operations a byte, GFLOP/s of the baseline and of ours, name of the op, and whether it works on one image."""
    work = results[0]
    timed = {result.contender: median(result.seconds) for result in results if result.seconds}
    if (
        not (work.operations and work.bytes_moved)
        or work.dtype != "float32"
        or not {BASELINE, "dasr-fast"} <= set(timed)
    ):
        return None
    op, size, *further = work.work.split()
    if "backward" in further:
        return None
    rates = [work.operations / timed[name] / 1e9 for name in (BASELINE, "dasr-fast")]
    return work.operations / work.bytes_moved, rates, op.rstrip(","), size.startswith("1x")


def _best(results: list[Result], theme: Theme) -> list[tuple[float, str, str]]:
    """Speed-up, colour and name of the fastest of each kind."""
    against = ratios(results)
    unasked = {BASELINE, *(f"dasr-fast, {backend}" for backend in BACKENDS)}
    timed = [r for r in results if r.contender in against and r.contender not in unasked and not r.other]
    precision = results[0].dtype
    kinds = (
        (theme.released, [r for r in timed if not _ours(r.contender)]),
        (theme.ours, [r for r in timed if _ours(r.contender) and r.dtype == precision]),
        (theme.half, [r for r in timed if _ours(r.contender) and r.dtype != precision]),
    )
    return [
        (against[fastest.contender], colour, fastest.contender.removeprefix("released, "))
        for colour, some in kinds
        if some and (fastest := _fastest(some))
    ]


def _fastest(results: list[Result]) -> Result:
    return min(results, key=lambda result: median(result.seconds))


def _ours(contender: str) -> bool:
    return contender.startswith(("dasr-fast", "accelerate", "Engine"))


def _line(axes: Any, works: list[list[Result]], contender: str, **style: Any) -> None:
    points = [
        (result.pixels, median(result.seconds) * 1e3)
        for results in works
        for result in results
        if result.contender == contender and result.seconds and result.pixels
    ]
    if points:
        axes.plot(*zip(*sorted(points), strict=True), **style)


def _colours(contenders: list[str], theme: Theme) -> list[str]:
    fixed = {BASELINE: theme.released, "Engine fp32": theme.ours, "Engine fp16": theme.half}
    further = iter((*theme.series, theme.text, theme.muted))
    return [fixed.get(contender) or next(further) for contender in contenders]


def _figure(width: float, height: float, columns: int = 1) -> tuple[Any, list[Any]]:
    figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
    return figure, list(axes.flat)


def _legend(figure: Any, entries: list[Entry], *, patches: bool) -> None:
    kind = Patch if patches else partial(Line2D, [], [])
    handles = [kind(label=label, **style) for label, style in entries]
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
