"""What is compared, and how it is timed: results checked first, contenders in turn, medians."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

BASELINE = "released"


@dataclass(frozen=True)
class Work:
    """One thing to compute, and who computes it.

    Attributes:
        suite: Name of the suite.
        label: What is computed, with sizes.
        contenders: By name; one is `BASELINE`.
        expected: The result in float64, or None where the contenders draw random numbers.
        tolerance: Largest `||result - expected|| / ||expected||` that counts as right.
        bytes_moved: Fewest bytes that it can move, if counted.
        operations: Multiplications and additions, if counted.
    """

    suite: str
    label: str
    contenders: dict[str, Callable[[], Tensor]]
    expected: Callable[[], Tensor] | None
    tolerance: float = 1e-5
    bytes_moved: int | None = None
    operations: int | None = None


@dataclass(frozen=True)
class Result:
    """Times of one contender at one work.

    Attributes:
        seconds: One for each round; empty if the result is wrong.
        error: Relative error, or None if it can't be known.
    """

    work: Work
    contender: str
    seconds: list[float]
    error: float | None

    @property
    def wrong(self) -> bool:
        return not self.seconds


def compare(work: Work, rounds: int, seconds_per_round: float = 0.1) -> list[Result]:
    """Check every contender, then time the right ones in turn, in the other order each round."""
    errors = _errors(work)  # The first call of each, which also warms it up.
    right = {
        name: function
        for name, function in work.contenders.items()
        if (error := errors[name]) is None or error <= work.tolerance
    }
    repeats = {name: max(1, int(seconds_per_round / _time(function, 1))) for name, function in right.items()}
    seconds: dict[str, list[float]] = {name: [] for name in work.contenders}
    for turn in range(rounds):
        for name in list(right) if turn % 2 else list(right)[::-1]:  # Who comes first gains or loses by it.
            seconds[name].append(_time(right[name], repeats[name]))
    return [Result(work, name, seconds[name], errors[name]) for name in work.contenders]


def speedups(results: list[Result]) -> dict[str, float]:
    """Median time of the baseline over that of each right contender, all of one work."""
    times = {result.contender: median(result.seconds) for result in results if not result.wrong}
    if BASELINE not in times:
        return {}
    return {name: times[BASELINE] / seconds for name, seconds in times.items()}


def _errors(work: Work) -> dict[str, float | None]:
    if work.expected is None:
        for function in work.contenders.values():
            function()
        return dict.fromkeys(work.contenders)
    expected = work.expected()
    return {name: _error(function(), expected) for name, function in work.contenders.items()}


def _error(result: Tensor, expected: Tensor) -> float:
    error = ((result.double().cpu() - expected).norm() / expected.norm()).item()
    return error if error == error else float("inf")


def _time(function: Callable[[], Tensor], repeats: int) -> float:
    _wait()
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    _wait()
    return (time.perf_counter() - start) / repeats


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
