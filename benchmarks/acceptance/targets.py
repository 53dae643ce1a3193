"""What is to be reached on an NVIDIA H200."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.results import Result, Run
from benchmarks.work import BASELINE

OURS = ("dasr-fast", "accelerate(released)", "Engine")
"""How names of contenders begin that aren't alternatives."""


@dataclass(frozen=True)
class Target:
    """What a work must reach; whatever is None isn't asked for.

    Attributes:
        name: For people.
        suite: Of the work.
        work: Its label.
        released: How many times less than the baseline: time, or memory.
        alternative: How many times less time than the fastest alternative.
        milliseconds: At most.
        ceiling: Least share of what the device can do.
    """

    name: str
    suite: str
    work: str
    released: float | None = None
    alternative: float | None = None
    milliseconds: float | None = None
    ceiling: float | None = None


STEP = "training step, everything, 32 of 48x48"
TARGETS = (
    Target("x4 inference, 320x180", "network", "x4 of 320x180", 10, 2.5, 0.8),
    Target("x4 inference, 960x540", "network", "x4 of 960x540", 5, 2, 8),
    Target("training step, batch 32", "training", STEP, 6, 2, 5),
    Target("degradation, 32 x 2 patches 192x192", "degradation", "degradation of 32x2x3x192x192", 50, None, 0.06),
    Target(
        "dynamic depthwise conv, forward + backward",
        "ops",
        "dynamic_depthwise_conv 32x64x48x48, forward + backward",
        ceiling=0.8,
    ),
    Target("peak memory, training step", "memory", STEP, 2),
)


def compared(run: Run) -> list[dict[str, Any]]:
    """A row for each thing that is wanted, with whether it was reached: None if it wasn't measured."""
    return [row for target in TARGETS for row in _rows(target, run)]


def _rows(target: Target, run: Run) -> Iterable[dict[str, Any]]:
    results = [r for r in run.results if (r.suite, r.work) == (target.suite, target.work) and _counts(r)]
    best = _least(r for r in results if r.contender.startswith(OURS))
    baseline = _least(r for r in results if r.contender == BASELINE)
    others = _least(r for r in results if not r.contender.startswith(OURS) and r.contender != BASELINE)
    for factor, other, name in (
        (target.released, baseline, "released"),
        (target.alternative, others, "the best alternative"),
    ):
        if factor is not None:
            ratio = other.measured / best.measured if best and other and best.measured and other.measured else None
            who = f" ({best.contender} and {other.contender})" if best and other else ""
            yield _row(target, f"{factor:g}x {name}", ratio, ratio is not None and ratio >= factor, f"x{who}")
    if target.milliseconds is not None:
        spent = best.measured * 1e3 if best and best.measured else None
        reached = spent is not None and spent <= target.milliseconds
        yield _row(target, f"<= {target.milliseconds:g} ms", spent, reached, " ms")
    if target.ceiling is not None:
        floor = run.floor(best) if best else None
        share = floor / best.measured if floor and best and best.measured else None
        yield _row(target, f"{target.ceiling:.0%} of the ceiling", share, share is not None and share >= target.ceiling)


def _row(target: Target, wanted: str, value: float | None, reached: bool, unit: str = "") -> dict[str, Any]:
    measured = "" if value is None else f"{value:.3g}{unit}"
    return {"work": target.name, "wanted": wanted, "measured": measured, "reached": None if value is None else reached}


def _counts(result: Result) -> bool:
    return result.measured is not None and not result.wrong and not result.other


def _least(results: Iterable[Result]) -> Result | None:
    return min(results, key=lambda result: result.measured or 0.0, default=None)
