"""What changed between two files of results, and what is noise."""

import sys
from pathlib import Path
from statistics import median
from typing import NamedTuple

import click
from scipy.stats import mannwhitneyu

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import results, tables
from benchmarks.harness.machine import title
from benchmarks.harness.results import Result, Run
from benchmarks.harness.work import BASELINE

SIGNIFICANCE = 0.01
"""Largest probability of such times if nothing changed. Less than 5 rounds on each side never get there."""

MEMORY = 0.05
"""Peaks of memory have one sample; a change of that part of them counts."""

WORSE = ("slower", "more memory", "wrong now", "fails now", "gone")
"""Verdicts that are regressions; the others are "faster", "less memory", "right now" and "same"."""

Key = tuple[str, str, str]


class Change(NamedTuple):
    """One contender's change: a verdict, what it takes after over what it took before, if that can be compared, and the
    probability of such times if nothing changed (Mann-Whitney), if there are several."""

    key: Key
    verdict: str
    ratio: float | None = None
    probability: float | None = None


def changes(before: Run, after: Run, threshold: float = 0.05, relative: bool = True) -> list[Change]:
    """Changes of all contenders that `before` has; `threshold` is the least change of the median that counts.

    Times are taken relative to the baseline's in the same round, so that a machine that was slower as a whole changes
    nothing, unless that isn't wanted or the baselines differ.
    """
    found = []
    relative = relative and before.baseline == after.baseline
    old_by_key, new_by_key = ({result.key: result for result in run.results} for run in (before, after))
    for key, old in old_by_key.items():
        new = new_by_key.get(key)
        if new is None:
            found.append(Change(key, "gone"))
        elif old.measured is None or new.measured is None:
            broken = "same" if old.measured is None else "wrong now" if new.wrong else "fails now"
            found.append(Change(key, broken if new.measured is None else "right now"))
        elif old.peak is not None and new.peak is not None:
            ratio = new.peak / old.peak
            found.append(Change(key, _verdict(ratio, MEMORY, "more memory", "less memory"), ratio))
        elif old.contender != BASELINE or not relative:
            a, b = old.seconds, new.seconds
            if relative:
                a, b = _relative(old, old_by_key), _relative(new, new_by_key)
            ratio, probability = median(b) / median(a), float(mannwhitneyu(a, b).pvalue)
            verdict = _verdict(ratio, threshold, "slower", "faster") if probability <= SIGNIFICANCE else "same"
            found.append(Change(key, verdict, ratio, probability))
    return found


def _verdict(ratio: float, threshold: float, more: str, less: str) -> str:
    return more if ratio > 1 + threshold else less if ratio < 1 / (1 + threshold) else "same"


def _relative(result: Result, by_key: dict[Key, Result]) -> list[float]:
    """Times over the baseline's of the same round; as they are if the baseline has none."""
    baseline = by_key.get((result.suite, result.work, BASELINE))
    if baseline is None or len(baseline.seconds) != len(result.seconds):
        return result.seconds
    return [own / other for own, other in zip(result.seconds, baseline.seconds, strict=True)]


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
    for name, run in zip(("before", "after"), runs, strict=True):
        facts = f"{title(run.machine)}, {run.commit.get('id', '')[:10]}, {run.datetime}, against {run.baseline}"
        click.echo(f"{name}: {facts}")
    lines = ["| work | contender | after / before | p | verdict |", "|---|---|---:|---:|---|"]
    for (suite, work, contender), verdict, ratio, probability in found:
        if every or verdict != "same":
            numbers = ["" if x is None else f"{x:.{digits}}" for x, digits in ((ratio, "2f"), (probability, "1g"))]
            lines.append(f"| {suite}: {work} | {contender} | {' | '.join(numbers)} | {verdict} |")
    tables.show("\n".join(lines))
    worse, same = sum(c.verdict in WORSE for c in found), sum(c.verdict == "same" for c in found)
    click.echo(f"{worse} worse, {len(found) - worse - same} better, {same} the same or within noise.")
    sys.exit(bool(fail and worse))


if __name__ == "__main__":
    main()
