"""Results as tables, in Markdown, which a terminal shows too."""

from collections.abc import Callable, Iterable, Iterator
from statistics import median

from rich.console import Console
from rich.markdown import Markdown

from benchmarks.harness.machine import title
from benchmarks.harness.results import AGREES, Best, Result, Run, ratios

WIDTH = 80
"""Characters of a terminal."""

SUMMARISED = ("network", "training", "degradation", "memory")


def show(text: str) -> None:
    """Print Markdown in a terminal."""
    Console(width=WIDTH).print(Markdown(text))


def summary(run: Run, wanted: Callable[[str], bool] = lambda work: True, *, brief: bool = False) -> str:
    """A row for each work that is wanted: the baseline, the best alternative, and this project's best.

    Unless `brief`, the released network after `accelerate` and 16 bits stand beside.
    """
    columns = (0, 1, 2, 4) if brief else range(6)
    rows = [["", "released", "best alternative", "`accelerate(released)`", "dasr-fast", "in 16 bits"]]
    for label, results in _summarised(run).items():
        best, against = Best.of(results), ratios(results)
        if wanted(label):
            shown = [best.released, best.alternative, best.accelerated, best.ours, best.narrow]
            cells = [_figure(one) for one in shown]
            if best.alternative:
                cells[1] += f" {best.alternative.contender.removeprefix('released, ')}"
            for index, one in enumerate(shown[3:], 3):
                cells[index] += f", **{against[one.contender]:.1f}x**" if one and one.contender in against else ""
            rows.append([label, *cells])
    lines = [f"| {' | '.join(row[column] for column in columns)} |" for row in rows]
    return "\n".join([lines[0], f"|---|{'---:|' * (len(columns) - 1)}", *lines[1:]])


def figure(run: Run, work: str, kind: str) -> str:
    """One of a row's figures, by the name of a field of `Best`; "ratio" is what this project's best gains."""
    results = _summarised(run)[work]
    best = Best.of(results)
    if kind == "ratio" and best.ours:
        return f"{ratios(results)[best.ours.contender]:.1f}"
    return _figure(getattr(best, kind))


def markdown(run: Run) -> str:
    """All results."""
    parts = [f"{title(run.machine)}. Baseline: {run.baseline}. {ceilings(run)}"]
    on_gpu = run.machine["kind"] == "cuda"
    for suite in dict.fromkeys(result.suite for result in run.results):
        header = ["peak MB", "whole process MB", "released / this"]
        if suite != "memory":
            header = ["median ms", "spread", "speed-up", *(["launch ms"] if on_gpu else []), "of ceiling", "error"]
        lines = [f"| {suite} | {' | '.join(header)} |", f"|---|{'---:|' * len(header)}"]
        for (_, work), results in run.works().items():
            if results[0].suite == suite:
                lines.append(f"| **{work}** |{' |' * len(header)}")
                lines += [f"| {' | '.join(row)} |" for row in rows(run, results)]
        parts.append("\n".join(lines))
    parts.append("\n".join(f"- {note}" for note in notes(run)))
    return "\n\n".join(parts) + "\n"


def rows(run: Run, results: list[Result]) -> Iterator[tuple[str, ...]]:
    """A row for each contender of a work that isn't absent."""
    against = ratios(results)
    for result in (result for result in results if not result.absent):
        name = f"{result.contender} (*)" if result.other else result.contender
        ratio = f"{against[result.contender]:.2f}x" if result.contender in against else ""
        if result.suite == "memory":
            sizes = ("" if size is None else f"{size / 1e6:.0f}" for size in (result.peak, result.process))
            yield (name, *sizes, ratio)
            continue
        error = "random" if result.error is None else f"{result.error:.0e}"
        cells = [
            _milliseconds(result.seconds),
            f"{result.statistics.iqr / result.measured:.0%}" if result.seconds and result.measured else "",
            ratio,
        ]
        if result.failure:
            cells[0], error = "failed", ""
        elif result.wrong:
            cells[0] = "WRONG"
        if run.machine["kind"] == "cuda":
            cells.append(_milliseconds(result.launch))
        floor = run.floor(result)
        cells.append(f"{floor / median(result.seconds):.0%}" if floor and result.seconds else "")
        yield (name, *cells, error)


def notes(run: Run) -> list[str]:
    """What tables need to be understood."""
    failed = [r for r in run.results if r.failure]
    return [
        "spread: interquartile range over the median. error: norm of the difference from float64 over the norm of the "
        "result without its mean; WRONG ones aren't timed.",
        "of ceiling: operations of the direct algorithm, or bytes that must be moved, at the ceilings, over the time. "
        "Winograd's convolutions and a collapsed tail do fewer operations, and small works stay in a cache: they may "
        "exceed 100 %.",
        *sorted({f"{r.contender} (*): {r.other}." for r in run.results if r.other}),
        *sorted({f"{r.suite}: {r.contender}: failed: {r.failure.rstrip('.')}." for r in failed if not r.absent}),
        *sorted({f"Absent: {r.contender}: {r.failure.rstrip('.')}." for r in failed if r.absent}),
        *(f"Left out: {reason}" for reason in run.left_out),
        *confirmation(run.results),
    ]


def confirmation(results: Iterable[Result]) -> list[str]:
    """How many figures were asked again of a process alone, and which of them differ, in sentences."""
    asked = [result for result in results if result.confirmed is not None]
    differ = [
        f"{r.suite}: {r.work}: {r.contender}: alone {r.alone / r.measured:.2f} times as much."
        for r in asked
        if r.alone and r.measured and not r.confirmed
    ]
    count = f"{len(asked) - len(differ)} of {len(asked)} figures"
    return [f"{count} are within {AGREES - 1:.0%} of those of a fresh process alone.", *differ] if asked else []


def ceilings(run: Run) -> str:
    """The ceilings in a sentence."""
    flops = [f"{value / 1e9:.0f} GFLOP/s in {name}" for name, value in run.ceilings.items() if name != "bytes"]
    return f"Ceilings measured in this run: {', '.join(flops)}, {run.ceilings['bytes'] / 1e9:.1f} GB/s copying."


def _summarised(run: Run) -> dict[str, list[Result]]:
    """Results by the names of works in a summary."""
    works = {work: results for work, results in run.works().items() if work[0] in SUMMARISED}
    return {f"memory, {name}" if suite == "memory" else name: results for (suite, name), results in works.items()}


def _figure(result: Result | None) -> str:
    """Time or memory."""
    if result is None:
        return ""
    if result.peak is not None:
        return f"{result.peak / 1e6:.0f} MB"
    seconds = median(result.seconds)
    return f"{seconds:.3g} s" if seconds >= 1 else f"{_milliseconds(result.seconds)} ms"


def _milliseconds(seconds: list[float]) -> str:
    middle = median(seconds) * 1e3 if seconds else None
    return "" if middle is None else f"{middle:.0f}" if middle >= 100 else f"{middle:.3g}"
