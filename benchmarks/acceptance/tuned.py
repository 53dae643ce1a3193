"""Part `tuned`: ops by the Triton backend once more, with the options that were tuned since."""

from dataclasses import replace
from statistics import geometric_mean

from benchmarks import machine, suites
from benchmarks.acceptance.benchmarks import EFFORT, RESULTS_FILE, merge
from benchmarks.acceptance.part import AbsentError, Asked, Report, lost
from benchmarks.baseline import find_baseline
from benchmarks.results import Run, ratios, read, write
from benchmarks.work import BASELINE, Settings

TRITON = "dasr-fast, triton"
NEEDED = 3.0


def run(asked: Asked, report: Report) -> None:
    """Compare speed-ups over the baseline with those of part `benchmarks`."""
    settings = Settings(asked.device, quick=not asked.on_gpu, reference=asked.reference)
    works = [work for work in suites.works(("ops",), settings) if TRITON in work.contenders]
    if not works:
        raise AbsentError("there is no Triton backend here")
    described = find_baseline(asked.reference, asked.device).description
    known = Run(machine.facts(asked.device), described, {"bytes": 1.0}, [], [])
    for work in works:
        if asked.left < NEEDED:
            known.left_out.append(f"{work.suite}: {work.label}: no time was left.")
            continue
        some = {name: work.contenders[name] for name in (BASELINE, TRITON)}
        try:
            merge(known, suites.measured(replace(work, contenders=some), settings, EFFORT))
        except Exception as error:
            known.left_out.append(f"{work.suite}: {work.label}: it failed.")
            report.fail(f"{work.suite}: {work.label}: {type(error).__name__}: {error}")
            if lost(asked.device):
                break
    write(known, asked.folder / "results-tuned.json")
    before = asked.folder / RESULTS_FILE
    gains = _gains(read(before), known) if before.exists() else {}
    report.line = f"{len(known.works())} of {len(works)} works"
    if gains:
        report.line += f", {geometric_mean(gains.values()):.3f} times faster in the mean than before"
    report.figures = {work: f"{gain:.3f} times faster" for work, gain in gains.items()}


def _gains(before: Run, after: Run) -> dict[str, float]:
    """By how much the backend is faster than before, by work."""
    found = {}
    earlier = before.works()
    for key, results in after.works().items():
        old, new = ratios(earlier.get(key, [])), ratios(results)
        if TRITON in old and TRITON in new:
            found[key[1]] = new[TRITON] / old[TRITON]
    return found
