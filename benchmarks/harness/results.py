"""Results of a run, and the file that holds them: the JSON that pytest-benchmark writes, and more."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest_benchmark
from pytest_benchmark.stats import Stats
from pytest_benchmark.utils import get_commit_info

from benchmarks.harness.work import BASELINE, Work
from dasr_fast.files import write_json
from dasr_fast.ops.backends import BACKENDS

RESULTS = Path(__file__).resolve().parents[1] / "results"
"""Folder of what is kept, a file for each machine."""

AGREES = 1.15
"""Factor by which a figure may differ from the one of a process that ran alone."""

SAME = ("baseline", "ceilings", "left_out", "datetime", "seconds")
"""What has the same name in `Run` and in the file."""

OURS = ("dasr-fast", "accelerate(released)", "Engine")
"""How names of contenders begin that aren't alternatives."""


@dataclass
class Result:
    """What one contender did at one work.

    Attributes:
        seconds: Of a call, one for each round; empty if it wasn't timed.
        launch: On a GPU, seconds until a call returned, one for each round.
        error: See `contender.difference`; None if it can't be known.
        tolerance: Largest error that counts as right.
        failure: Why it couldn't run, if it couldn't.
        absent: Whether that is only because this machine lacks something.
        other: How its result differs by design, if it is another function.
        dtype, operations, bytes_moved, pixels: As in `Contender` and `Work`.
        peak: Bytes of memory that it needed at most, if measured.
        process: On a CPU, bytes of the whole process then.
        alone: Median of the seconds, or the peak, of a fresh process without others, if that was asked.
    """

    suite: str
    work: str
    contender: str
    seconds: list[float] = field(default_factory=list)
    launch: list[float] = field(default_factory=list)
    error: float | None = None
    tolerance: float = 0.0
    failure: str = ""
    absent: bool = False
    other: str = ""
    dtype: str = "float32"
    operations: int | None = None
    bytes_moved: int | None = None
    pixels: int | None = None
    peak: int | None = None
    process: int | None = None
    alone: float | None = None

    @classmethod
    def of(cls, work: Work, contender: str) -> "Result":
        """One without measurements yet."""
        one = work.contenders[contender]
        found = cls(work.suite, work.label, contender, other=one.other, dtype=one.dtype)
        found.tolerance, found.bytes_moved, found.pixels = work.tolerance(one.dtype), work.bytes_moved, work.pixels
        found.operations = None if work.operations is None else work.operations()
        return found

    @property
    def key(self) -> tuple[str, str, str]:
        """Suite, work and contender."""
        return self.suite, self.work, self.contender

    @property
    def wrong(self) -> bool:
        """Whether its result isn't the one that is expected, and should be."""
        return self.error is not None and not self.other and not self.error <= self.tolerance

    @property
    def measured(self) -> float | None:
        """Median of the seconds, or the peak of memory; None if there is neither."""
        if self.seconds:
            return median(self.seconds)
        return None if self.peak is None else float(self.peak)

    @property
    def confirmed(self) -> bool | None:
        """Whether it needs as much alone, within `AGREES`; None if it wasn't asked."""
        if self.measured is None or self.alone is None:
            return None
        return 1 / AGREES <= self.alone / self.measured <= AGREES

    @property
    def statistics(self) -> Stats:
        """Of the seconds."""
        found = Stats()
        for second in self.seconds:
            found.update(second)
        return found


@dataclass
class Run:
    """Results of all works, and what they depend on.

    Attributes:
        machine: Device, driver, threads, versions.
        baseline: What `BASELINE` is.
        ceilings: Most operations a second of each type ("float32", ...) and bytes a second ("bytes"), as measured.
        left_out: What wasn't compared, and why: sentences.
        results: Those of a work follow one another.
        commit, datetime, seconds: Of the repository; when the run ended, in UTC; how long it took.
    """

    machine: dict[str, Any]
    baseline: str
    ceilings: dict[str, float]
    left_out: list[str]
    results: list[Result]
    commit: dict[str, Any] = field(default_factory=partial(get_commit_info, "dasr-fast"))
    datetime: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat(timespec="seconds"))
    seconds: float = 0.0

    def works(self) -> dict[tuple[str, str], list[Result]]:
        """Results by suite and label of the work."""
        by_work: dict[tuple[str, str], list[Result]] = {}
        for result in self.results:
            by_work.setdefault((result.suite, result.work), []).append(result)
        return by_work

    def floor(self, result: Result) -> float | None:
        """Seconds that the work takes at the ceilings, if its operations or bytes are counted."""
        bounds = []
        for amount, kind in ((result.operations, result.dtype), (result.bytes_moved, "bytes")):
            if amount is not None and kind in self.ceilings:
                bounds.append(amount / self.ceilings[kind])
        return max(bounds, default=None)


def ratios(results: list[Result]) -> dict[str, float]:
    """What the baseline took over what each contender of one work took: time or memory."""
    measured = {result.contender: result.measured for result in results if result.measured}
    baseline = measured.get(BASELINE)
    return {name: baseline / value for name, value in measured.items()} if baseline else {}


class Best(NamedTuple):
    """The results of one work that matter: the least of each kind, of those that compute the same.

    `accelerated` is the released network after `accelerate`, `ours` this project's best in the baseline's precision,
    `narrow` its best in 16 bits.
    """

    released: Result | None
    alternative: Result | None
    accelerated: Result | None
    ours: Result | None
    narrow: Result | None

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Best":
        """Those of a work."""
        kinds: dict[str, Result] = {}
        single = {f"dasr-fast, {backend}" for backend in BACKENDS}
        for result in results:
            name = result.contender
            if result.measured is None or result.other or name in single:
                continue
            ours = "ours" if result.dtype == results[0].dtype else "narrow"
            kind = ours if name.startswith(OURS) else "released" if name == BASELINE else "alternative"
            for key in (kind, "accelerated") if name == "accelerate(released)" else (kind,):
                if key not in kinds or result.measured < (kinds[key].measured or 0.0):
                    kinds[key] = result
        return cls(*(kinds.get(name) for name in cls._fields))


def write(run: Run, path: Path) -> None:
    """Write the file; `pytest-benchmark compare` reads its times, `read` all of it."""
    timed, others = ([r for r in run.results if bool(r.seconds) == wanted] for wanted in (True, False))
    content = {
        "machine_info": run.machine,
        "commit_info": run.commit,
        "benchmarks": [_as_benchmark(result) for result in timed],
        "version": pytest_benchmark.__version__,
        "without_times": [asdict(result) for result in others],
        "order": [result.key for result in run.results],
        **{name: getattr(run, name) for name in SAME},
    }
    write_json(path, content)


def read(path: Path) -> Run:
    """The run in a file.

    Raises:
        ValueError: The file is none of `write`'s.
    """
    try:
        content = json.loads(path.read_text())
        found = [Result(**one["extra_info"], seconds=one["stats"]["data"]) for one in content["benchmarks"]]
        found += [Result(**one) for one in content["without_times"]]
        by_key = {result.key: result for result in found}
        same = {name: content[name] for name in SAME}
        results = [by_key[tuple(key)] for key in content["order"]]
        return Run(content["machine_info"], results=results, commit=content["commit_info"], **same)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no results of benchmarks/run.py: {error}.") from error


def joined(runs: Sequence[Run]) -> Run:
    """Runs of several suites as one; of a work that several measured, the last run's results.

    Raises:
        ValueError: Machine, versions or baselines differ, so that the results can't be compared.
    """
    first = runs[0]
    if any((run.machine, run.baseline) != (first.machine, first.baseline) for run in runs):
        raise ValueError("The files are of different machines, versions or baselines; only runs on one can be joined.")
    works = {work: results for run in runs for work, results in run.works().items()}
    return replace(
        runs[-1],
        ceilings={name: max(run.ceilings.get(name, 0.0) for run in runs) for name in first.ceilings},
        left_out=list(dict.fromkeys(sentence for run in runs for sentence in run.left_out)),
        results=[result for results in works.values() for result in results],
        seconds=round(sum(run.seconds for run in runs), 1),
    )


def _as_benchmark(result: Result) -> dict[str, Any]:
    name = f"{result.work}[{result.contender}]"
    return {
        "group": f"{result.suite}: {result.work}",
        "name": name,
        "fullname": f"{result.suite}: {name}",
        "params": {"work": result.work, "contender": result.contender},
        "param": result.contender,
        "extra_info": {key: value for key, value in asdict(result).items() if key != "seconds"},
        "options": {"timer": "perf_counter"},
        "stats": {**result.statistics.as_dict(), "data": result.seconds, "iterations": 1},
    }
