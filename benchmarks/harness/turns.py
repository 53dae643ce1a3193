"""Every contender in a process of its own; they take turns, one computes while the others sleep."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.harness.contender import Find, serve
from benchmarks.harness.results import Result
from benchmarks.harness.work import BASELINE, Settings

SLEEP = 0.02
"""Seconds before a turn, in which threads of the one before it stop looking for work."""


@dataclass(frozen=True)
class Effort:
    """How long to measure: seconds for each contender, rounds, and the seconds that a round's calls take at least."""

    seconds: float = 2.0
    least: int = 5
    most: int = 20
    round_seconds: float = 0.1

    def repeats(self, once: float) -> int:
        """Calls of a round."""
        return max(1, int(self.round_seconds / once))

    def rounds(self, turn: float, contenders: int) -> int:
        """Rounds, if one of all contenders takes `turn` seconds."""
        return min(self.most, max(self.least, int(self.seconds * contenders / turn)))


class FailedError(Exception):
    """What a process couldn't do, and whether something is only absent."""


class Process(AbstractContextManager["Process"]):
    """A contender's process, which finds the work by itself.

    A fresh one imports everything; others are forked from one that has, which takes no time.
    """

    def __init__(self, find: Find, folder: Path, settings: Settings, name: str, *, fresh: bool = False) -> None:
        forks = "forkserver" in get_all_start_methods() and not fresh
        context: Any = get_context("forkserver" if forks else "spawn")
        if forks:
            context.set_forkserver_preload(["dasr_fast.inference", "dasr_fast.training.step"])
        self.pipe, there = context.Pipe()
        arguments = (there, find, folder, name, settings.device, torch.get_num_threads())
        self.process = context.Process(target=serve, args=arguments, daemon=True)
        self.process.start()
        there.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self.pipe.close()
        self.process.join(10)
        self.process.kill()
        self.process.join()

    def ask(self, method: str, *arguments: Any) -> Any:
        """What that method returns there.

        Raises:
            FailedError: It raises something, or the process has ended.
        """
        try:
            self.pipe.send((method, *arguments))
            result, failure = self.pipe.recv()
        except (EOFError, OSError):
            self.process.join(10)
            raise FailedError(f"its process ended with status {self.process.exitcode}", False) from None
        if failure is not None:
            raise FailedError(*failure)
        return result


def compare(
    find: Find, settings: Settings, effort: Effort, *, again: bool = False, profiles: Path | None = None
) -> list[Result]:
    """Check every contender, then time the right ones in turn, in the other order each round.

    Of works without times each contender's memory is measured, in one process after the other. If asked `again`, each
    figure comes once more from a fresh process, alone. Profiles of the calls go to a folder if there is one for them.
    """
    work = find()
    results = [Result.of(work, name) for name in work.contenders]
    with TemporaryDirectory(dir=settings.folder) as name:
        start = partial(Process, find, Path(name), settings)
        with start(BASELINE) as process:  # Which ends then, so that nobody's memory is that of the inputs' making.
            process.ask("draw")
        if work.timed:
            _in_turns(results, start, effort, profiles)
        else:
            for result in results:
                with _failures(result), start(result.contender) as process:
                    process.ask("build")
                    result.peak, result.process = process.ask("peak")
        for result in results if again else ():
            if result.measured is not None:
                with _failures(result), start(result.contender, fresh=True) as process:
                    result.alone = _alone(process, effort, timed=work.timed)
    return results


def _in_turns(
    results: Sequence[Result], start: Callable[[str], Process], effort: Effort, profiles: Path | None
) -> None:
    """Times, errors and profiles of all that can be compared."""
    with ExitStack() as stack:
        processes = [stack.enter_context(start(result.contender)) for result in results]
        running: list[tuple[Result, Process, int]] = []
        turn = 0.0
        for result, process in zip(results, processes, strict=True):
            with _failures(result):
                result.error = process.ask("build")
                if not result.wrong:
                    once = process.ask("settle")
                    running.append((result, process, effort.repeats(once)))
                    turn += once * effort.repeats(once)
                    continue
            process.close()
        for number in range(effort.rounds(turn, len(running)) if running else 0):
            for result, process, repeats in running if number % 2 else running[::-1]:  # Who comes first may gain by it.
                with _failures(result):
                    time.sleep(SLEEP)
                    seconds, launch = process.ask("seconds", repeats)
                    result.seconds.append(seconds)
                    result.launch += [] if launch is None else [launch]
        if profiles is not None:
            for result, process, _ in running:
                name = re.sub(r"[^a-z0-9]+", "-", f"{result.suite} {result.work} {result.contender}".lower())
                with _failures(result):
                    process.ask("profile", profiles / f"{name}.txt")


def _alone(process: Process, effort: Effort, *, timed: bool) -> float:
    """Median of the seconds, or the peak of memory."""
    process.ask("build")
    if not timed:
        return float(process.ask("peak")[0])
    once = process.ask("settle")
    rounds = range(effort.rounds(once * effort.repeats(once), 1))
    return median(process.ask("seconds", effort.repeats(once))[0] for _ in rounds)


@contextmanager
def _failures(result: Result) -> Iterator[None]:
    """Notes what a process can't do."""
    try:
        yield
    except FailedError as error:
        result.failure, result.absent = error.args
