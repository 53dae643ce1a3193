"""How a work is timed: results checked first, contenders in turn, every sample kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.results import Result
from benchmarks.work import Contender, Inputs, Work
from dasr_fast.training.step import WARM_UP

SETTLING = WARM_UP
"""Calls on a GPU between the first and those that are timed: `Engine` captures its CUDA graph at the second call, a
training step after `WARM_UP` calls, and what a capture takes says nothing of the calls that follow."""


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes:
        seconds: For each contender of a work, about.
        least: Rounds at least.
        most: Rounds at most.
        round_seconds: A round repeats a call until that is reached.
    """

    seconds: float = 2.0
    least: int = 5
    most: int = 20
    round_seconds: float = 0.1


class Prepared:
    """A contender that is built and has its inputs; a call takes the next copy of them."""

    def __init__(self, contender: Contender, inputs: Inputs, device: str) -> None:
        self.device = device
        _settle_allocator()
        self.call = contender.make()
        self.copies = [contender.arrange(_copied(inputs)) for _ in range(_copies(inputs, device))]
        self.turn = 0

    def __call__(self) -> Any:
        self.turn = (self.turn + 1) % len(self.copies)
        return self.call(*self.copies[self.turn])

    def settle(self) -> None:
        """On a GPU make the calls that are no measure of the later ones."""
        for _ in range(SETTLING if self.device == "cuda" else 0):
            self()

    def measure(self, repeats: int) -> tuple[float, float | None]:
        """Seconds of one of so many calls in succession, and on a GPU those until the first call returned.

        On a GPU events on the stream tell the time; calls that are shorter there than their launches take as long.
        """
        if self.device != "cuda":
            start = time.perf_counter()
            for _ in range(repeats):
                self()
            return (time.perf_counter() - start) / repeats, None
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start = time.perf_counter()
        begin.record()
        self()
        launch = time.perf_counter() - start
        for _ in range(repeats - 1):
            self()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / repeats, launch


def compare(work: Work, device: str, effort: Effort) -> list[Result]:
    """Check every contender, then time the right ones in turn, in the other order each round."""
    inputs = work.inputs()
    expected = None if work.expected is None else work.read(work.expected(*inputs))
    prepared: dict[str, Prepared] = {}
    results: dict[str, Result] = {}
    for name in work.contenders:
        results[name], ready = checked(work, name, inputs, expected, device)
        if ready is not None:
            prepared[name] = ready
    once = {name: one.measure(1)[0] for name, one in prepared.items()}
    repeats = {name: max(1, int(effort.round_seconds / seconds)) for name, seconds in once.items()}
    turn = sum(once[name] * repeats[name] for name in prepared)
    rounds = min(effort.most, max(effort.least, int(effort.seconds * len(prepared) / turn))) if prepared else 0
    for number in range(rounds):
        for name in list(prepared) if number % 2 else list(prepared)[::-1]:  # Who comes first gains or loses by it.
            seconds, launch = prepared[name].measure(repeats[name])
            results[name].seconds.append(seconds)
            if launch is not None:
                results[name].launch.append(launch)
    return list(results.values())


def checked(
    work: Work, name: str, inputs: Inputs, expected: Sequence[Tensor] | None, device: str
) -> tuple[Result, Prepared | None]:
    """A contender's result without times, and the contender ready to be timed if it is there and right."""
    result = Result.of(work, name)
    try:
        prepared = Prepared(work.contenders[name], inputs, device)
        outputs = work.read(prepared())  # The first call, which also compiles, packs weights and so on.
        if expected is not None:
            result.error = max(difference(y, target) for y, target in zip(outputs, expected, strict=True))
        if not result.wrong:
            prepared.settle()
    except Exception as failure:  # Whatever an alternative can't do here is a result, too.
        result.failure = reason(failure)
        return result, None
    return result, None if result.wrong else prepared


def reason(failure: Exception) -> str:
    """The first line of what it says, and the next one after a colon; its type if it says nothing."""
    first, *others = [line.strip() for line in str(failure).splitlines() if line.strip()] or [type(failure).__name__]
    return f"{first} {others[0]}" if first.endswith(":") and others else first


def difference(result: Tensor, expected: Tensor) -> float:
    """`||result - expected||` over `||expected - mean(expected)||` (over `||expected||` of a single number).

    Without the mean, an image that is grey all over is wrong. Infinite if it isn't a number.
    """
    target = expected.double().cpu()
    if result.shape != target.shape:
        return float("inf")
    distance = (result.detach().double().cpu() - target).norm()
    error = (distance / (target - target.mean() if target.numel() > 1 else target).norm()).item()
    return error if error == error else float("inf")


def _settle_allocator() -> None:
    """Let glibc keep what is freed, as it does in programs that have freed a block of nearly 32 MiB.

    Until then it may give memory back and fault it in again at every call, or not, depending on what ran before: times
    of the same call differed by a factor of 2.5.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _copied(inputs: Inputs) -> Inputs:
    return tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)


def _copies(inputs: Inputs, device: str) -> int:
    """How many of them don't fit into the GPU's L2 cache together, so that none is found there."""
    if device != "cuda":
        return 1
    size = sum(x.numel() * x.element_size() for x in inputs if isinstance(x, Tensor))
    return min(64, 2 + 2 * torch.cuda.get_device_properties(0).L2_cache_size // max(size, 1))
