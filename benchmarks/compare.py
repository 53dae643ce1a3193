"""What changed between two files of results, and what is noise."""

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import mannwhitneyu

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import results
from benchmarks.harness.machine import title
from benchmarks.harness.results import Result, Run
from benchmarks.harness.work import BASELINE

SIGNIFICANCE = 0.01
"""Largest probability of such times if nothing changed. Less than 5 rounds on each side never get there."""

MEMORY = 0.05
"""Peaks of memory have one sample; a change of that part of them counts."""

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Change:
    """One contender's change.

    Attributes:
        key: Suite, work, contender.
        ratio: What it takes after over what it took before; None if it can't be compared.
        probability: Of such times if nothing changed (Mann-Whitney), if there are several.
        verdict: "same"; "slower", "more memory", "wrong now", "fails now" or "gone"; or "faster", "less memory" or
            "right now".
    """

    key: Key
    ratio: float | None
    probability: float | None
    verdict: str

    @property
    def regression(self) -> bool:
        """Whether it is worse."""
        return self.verdict in ("slower", "more memory", "wrong now", "fails now", "gone")


def changes(before: Run, after: Run, threshold: float = 0.05, relative: bool = True) -> list[Change]:
    """Changes of all contenders that `before` has.

    Args:
        before: One run.
        after: Another.
        threshold: Least change of the median that counts.
        relative: Whether times are taken relative to the baseline's in the same round, so that a machine that was
            slower as a whole changes nothing. Only where both runs have the same baseline.
    """
    found = []
    relative = relative and before.baseline == after.baseline
    for key, old in _by_key(before).items():
        new = _by_key(after).get(key)
        if new is None:
            found.append(Change(key, None, None, "gone"))
            continue
        if old.contender == BASELINE and relative and old.seconds:
            continue
        found.append(_change(key, old, new, (before, after) if relative else None, threshold))
    return found


def _change(key: Key, old: Result, new: Result, runs: tuple[Run, Run] | None, threshold: float) -> Change:
    if new.measured is None:
        broken = "wrong now" if new.wrong else "fails now"
        return Change(key, None, None, "same" if old.measured is None else broken)
    if old.measured is None:
        return Change(key, None, None, "right now")
    if old.peak is not None and new.peak is not None:
        ratio = new.peak / old.peak
        verdict = "more memory" if ratio > 1 + MEMORY else "less memory" if ratio < 1 / (1 + MEMORY) else "same"
        return Change(key, ratio, None, verdict)
    a, b = old.seconds, new.seconds
    if runs is not None:
        a, b = (_relative(result, run) for result, run in zip((old, new), runs, strict=True))
    ratio = median(b) / median(a)
    probability = float(mannwhitneyu(a, b).pvalue)
    verdict = "slower" if ratio > 1 + threshold else "faster" if ratio < 1 / (1 + threshold) else "same"
    return Change(key, ratio, probability, verdict if probability <= SIGNIFICANCE else "same")


def _relative(result: Result, run: Run) -> list[float]:
    """Times over the baseline's of the same round; as they are if the baseline has none."""
    baseline = _by_key(run).get((result.suite, result.work, BASELINE))
    if baseline is None or len(baseline.seconds) != len(result.seconds):
        return result.seconds
    return [own / other for own, other in zip(result.seconds, baseline.seconds, strict=True)]


def _by_key(run: Run) -> dict[Key, Result]:
    return {(result.suite, result.work, result.contender): result for result in run.results}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--threshold", type=click.FloatRange(0), default=0.05, show_default=True, help="Change that counts.")
@click.option("--absolute", is_flag=True, help="Compare seconds, instead of times relative to the baseline's.")
@click.option("--all", "every", is_flag=True, help="Show what stayed the same too.")
@click.option("--fail", is_flag=True, help="Exit with 1 if anything is worse.")
def main(before: Path, after: Path, threshold: float, absolute: bool, every: bool, fail: bool) -> None:
    """Tell what is slower or faster in AFTER than in BEFORE, both written by benchmarks/run.py, from noise."""
    try:
        runs = results.read(before), results.read(after)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    found = changes(*runs, threshold, not absolute)
    console = Console(width=100)
    for name, run in zip(("before", "after"), runs, strict=True):
        facts = f"{title(run.machine)}, {run.commit.get('id', '')[:10]}, {run.datetime}, against {run.baseline}"
        console.print(f"{name}: {facts}", highlight=False, markup=False)
    table = Table("work", "contender", "after / before", "p", "verdict")
    for change in found:
        if every or change.verdict != "same":
            ratio = "" if change.ratio is None else f"{change.ratio:.2f}"
            probability = "" if change.probability is None else f"{change.probability:.1g}"
            suite, work, contender = change.key
            colour = "red" if change.regression else "green" if change.verdict != "same" else "default"
            cells = escape(f"{suite}: {work}"), escape(contender), ratio, probability
            table.add_row(*cells, f"[{colour}]{change.verdict}")
    console.print(table)
    worse, same = sum(c.regression for c in found), sum(c.verdict == "same" for c in found)
    click.echo(f"{worse} worse, {len(found) - worse - same} better, {same} the same or within noise.")
    if fail and worse:
        sys.exit(1)


if __name__ == "__main__":
    main()
