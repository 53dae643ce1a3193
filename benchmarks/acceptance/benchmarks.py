"""Part `benchmarks`: the works of all suites, those of the targets first, as many as there is time for."""

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import replace

from benchmarks import machine, suites, tables
from benchmarks.acceptance.part import Asked, Report, lost
from benchmarks.acceptance.targets import OURS, TARGETS, compared
from benchmarks.baseline import find_baseline
from benchmarks.results import RESULTS, Result, Run, write
from benchmarks.timing import Effort
from benchmarks.work import Settings, Work

EFFORT = Effort(seconds=0.3, least=5, most=20, round_seconds=0.02)
SLOW = ("compiled", "max-autotune")
"""In the names of contenders that are compiled for minutes."""

RESULTS_FILE = "results.json"

NEEDED, NEEDED_TO_COMPILE = 12.0, 60.0
"""Seconds with which a work is worth beginning."""


def run(asked: Asked, report: Report) -> None:
    """Measure, and write what is known after each work."""
    settings = Settings(asked.device, quick=not asked.on_gpu, reference=asked.reference)
    known = Run(
        machine.facts(asked.device),
        find_baseline(asked.reference, asked.device).description,
        machine.ceilings(asked.device, settings.quick),
        [],
        [],
    )
    begin = asked.left
    planned = list(plan(settings, report))
    reasons, late = suites.left_out(tuple(suites.SUITES), settings), list[str]()

    def keep() -> None:
        known.seconds = round(begin - asked.left, 1)
        known.left_out = [*reasons, *late]
        write(known, asked.folder / RESULTS_FILE)
        note(known, f"{len(planned) - len(late)} of {len(planned)} works", report)
        report.write(asked.folder)

    shown = False
    for number, (work, compiles) in enumerate(planned):
        if asked.left < (NEEDED_TO_COMPILE if compiles else NEEDED):
            late.append(f"{work.suite}: {work.label}{', compiled' if compiles else ''}: no time was left.")
            continue
        if compiles and not shown:  # Which may be stopped while it compiles.
            keep()
            finish(known, asked, report)
            shown = True
        print(f"{begin - asked.left:5.0f} s  {work.suite}: {work.label}", flush=True)
        try:
            merge(known, suites.measured(work, settings, EFFORT))
        except Exception as error:
            report.fail(f"suite {work.suite}: {work.label}: {type(error).__name__}: {error}")
            if lost(asked.device):
                late += [f"{one.suite}: {one.label}: the GPU's context was lost." for one, _ in planned[number:]]
                break
        keep()
    keep()
    finish(known, asked, report)


def plan(settings: Settings, report: Report) -> Iterator[tuple[Work, bool]]:
    """Works of targets, of ops, of targets with all contenders, and the others; and whether any compiles long."""
    every = [work for name in suites.SUITES for work in _works(name, settings, report)]
    wanted = {(target.suite, target.work) for target in TARGETS}
    first = [work for work in every if (work.suite, work.label) in wanted]
    others = [work for work in every if (work.suite, work.label) not in wanted]
    yield from ((quick(work), False) for work in first)
    yield from ((quick(work), False) for work in others if work.suite == "ops")
    yield from ((work, True) for work in first if len(work.contenders) > len(quick(work).contenders))
    yield from ((quick(work), False) for work in others if work.suite not in ("ops", "memory"))


def _works(suite: str, settings: Settings, report: Report) -> list[Work]:
    try:
        return list(suites.works((suite,), settings))
    except Exception as error:  # The other suites go on.
        report.fail(f"suite {suite}: {type(error).__name__}: {error}")
        return []


def quick(work: Work) -> Work:
    """The same without those that are compiled for minutes, and of memory the two that count."""
    names = [name for name in work.contenders if not any(slow in name for slow in SLOW)]
    if work.suite == "memory":
        names = [name for name in names if name in ("released", "dasr-fast")]
    return replace(work, contenders={name: work.contenders[name] for name in names})


def merge(known: Run, results: list[Result]) -> None:
    """Add results of a work, instead of those that there were."""
    key = (results[0].suite, results[0].work) if results else None
    known.results = [result for result in known.results if (result.suite, result.work) != key] + results


def note(known: Run, line: str, report: Report) -> None:
    """What is known, in the report."""
    ours = [result for result in known.results if result.contender.startswith(OURS)]
    wrong = [f"{r.suite}: {r.work}: {r.contender} is wrong, error {r.error:.3g}" for r in ours if r.wrong]
    broken = [f"{r.suite}: {r.work}: {r.contender}: {r.failure}" for r in ours if r.failure]
    report.failures = [failure for failure in report.failures if failure.startswith("suite ")]
    for failure in [*wrong, *broken]:
        report.fail(failure)
    report.targets = compared(known)
    report.line = f"{line}, {sum(target['reached'] is True for target in report.targets)} targets reached"


def finish(known: Run, asked: Asked, report: Report) -> None:
    """Write tables and plots, and keep results in the repository if asked to."""
    path = asked.folder / RESULTS_FILE
    path.with_suffix(".md").write_text(tables.markdown(known))
    if asked.save:
        RESULTS.mkdir(exist_ok=True)
        kept = RESULTS / f"{machine.file_name(known.machine)}.json"
        shutil.copy(path, kept)
        shutil.copy(path.with_suffix(".md"), kept.with_suffix(".md"))
        report.figures["kept"] = kept.name
    if known.results and importlib.util.find_spec("matplotlib"):  # Elsewhere benchmarks/report.py draws them.
        from benchmarks import plots

        plots.draw(known, asked.folder)
