"""Results as tables, in a terminal and in Markdown."""

from collections.abc import Iterator
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.machine import title
from benchmarks.results import Result, Run, ratios

Row = tuple[str, ...]

WIDTH = 100
"""Characters of a terminal."""


def show(run: Run, console: Console | None = None) -> None:
    """Print a table for each suite, what was left out, and what the columns mean."""
    console = console or Console(width=WIDTH)
    console.print(f"[bold]{escape(title(run.machine))}[/]. Baseline: {run.baseline}. {ceilings(run)}", highlight=False)
    for suite, works in _by_suite(run).items():
        table = Table(title=suite, title_justify="left", title_style="bold", width=WIDTH)
        for index, column in enumerate(columns(run, suite)):
            table.add_column(
                column, justify="right" if index else "left", no_wrap=index > 0, ratio=None if index else 1
            )
        for work, results in works.items():
            table.add_row(f"[bold]{escape(work)}[/]")
            for name, *figures in rows(run, results):
                table.add_row(f"  {escape(name)}", *figures)
            table.add_section()
        console.print(table)
    for note in notes(run):
        console.print(f"- {note}", highlight=False, markup=False)


def markdown(run: Run) -> str:
    """The same in Markdown."""
    parts = [f"{title(run.machine)}. Baseline: {run.baseline}. {ceilings(run)}"]
    for suite, works in _by_suite(run).items():
        header = columns(run, suite)
        lines = [f"| {suite} | {' | '.join(header[1:])} |", f"|---|{'---:|' * (len(header) - 1)}"]
        for work, results in works.items():
            lines.append(f"| **{work}** |{' |' * (len(header) - 1)}")
            lines += [f"| {' | '.join(row)} |" for row in rows(run, results)]
        parts.append("\n".join(lines))
    parts.append("\n".join(f"- {note}" for note in notes(run)))
    return "\n\n".join(parts) + "\n"


def columns(run: Run, suite: str) -> Row:
    """Headings of `rows`."""
    if suite == "memory":
        return ("", "peak MB", "whole process MB", "released / this")
    launch = ("launch ms",) if run.machine["kind"] == "cuda" else ()
    return ("", "median ms", "spread", "speed-up", *launch, "of ceiling", "error")


def rows(run: Run, results: list[Result]) -> Iterator[Row]:
    """A row for each contender of a work."""
    against = ratios(results)
    for result in results:
        ratio = f"{against[result.contender]:.2f}x" if result.contender in against else ""
        if result.suite == "memory":
            sizes = (("" if size is None else f"{size / 1e6:.0f}") for size in (result.peak, result.process))
            yield (_name(result), *sizes, ratio)
            continue
        error = "random" if result.error is None else f"{result.error:.0e}"
        cells = [_milliseconds(result.seconds), "", ratio]
        if result.seconds:
            cells[1] = f"{result.spread:.0%}"
        if result.failure:
            cells[0], error = "failed", ""
        elif result.wrong:
            cells[0] = "WRONG"
        if run.machine["kind"] == "cuda":
            cells.append(_milliseconds(result.launch))
        floor = run.floor(result)
        cells.append(f"{floor / median(result.seconds):.0%}" if floor and result.seconds else "")
        yield (_name(result), *cells, error)


def notes(run: Run) -> list[str]:
    """What tables need to be understood."""
    others = {f"{r.contender} (*): {r.other}." for r in run.results if r.other}
    failures = {f"{r.suite}: {r.contender}: failed: {r.failure.rstrip('.')}." for r in run.results if r.failure}
    return [
        "spread: interquartile range over the median. error: norm of the difference from float64 over the norm of the "
        "result without its mean; WRONG ones aren't timed.",
        "of ceiling: operations of the direct algorithm, or bytes that must be moved, at the ceilings, over the time. "
        "Winograd's convolutions and a collapsed tail do fewer operations, and small works stay in a cache: they may "
        "exceed 100 %.",
        *sorted(others),
        *sorted(failures),
        *(f"Left out: {reason}" for reason in run.left_out),
    ]


def ceilings(run: Run) -> str:
    """The ceilings in a sentence."""
    flops = [f"{value / 1e9:.0f} GFLOP/s in {name}" for name, value in run.ceilings.items() if name != "bytes"]
    return f"Ceilings measured in this run: {', '.join(flops)}, {run.ceilings['bytes'] / 1e9:.1f} GB/s copying."


def _name(result: Result) -> str:
    return f"{result.contender} (*)" if result.other else result.contender


def _milliseconds(seconds: list[float]) -> str:
    middle = median(seconds) * 1e3 if seconds else None
    return "" if middle is None else f"{middle:.0f}" if middle >= 100 else f"{middle:.3g}"


def _by_suite(run: Run) -> dict[str, dict[str, list[Result]]]:
    suites: dict[str, dict[str, list[Result]]] = {}
    for (suite, work), results in run.works().items():
        suites.setdefault(suite, {})[work] = results
    return suites
