"""Problem by problem, the fastest options that leave the result as it is."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
import triton
from torch import Tensor
from torch.utils.benchmark import Timer
from triton.errors import TritonError
from triton.testing import do_bench, do_bench_cudagraph

from benchmarks.tuning.entries import Entry, as_entry, merge, read, seeds, write
from benchmarks.tuning.problems import Planned, Run, Say, calls, describe, implementation, record, substituted
from benchmarks.tuning.search import Search
from dasr_fast.kernels.launch import COMPILED
from dasr_fast.kernels.options import Options, forced
from tests.specification import SPECIFICATIONS

CLOSE = {torch.float32: 1e-4, torch.float16: 4e-3, torch.bfloat16: 3e-2}
"""Largest difference from the default's result over its largest value; TF32 rounds to 5e-4 of one term of a sum."""
LEAST = 4.0
"""Seconds for a problem at least: what it takes to compile the alternatives of one option after the other."""
ROUNDS = 3
"""How often the default and the fastest options are timed once more, in turn."""


def tune(
    planned: Sequence[Planned],
    device: str,
    path: Path,
    facts: Mapping[str, Any],
    budget: float,
    say: Say,
    shown: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> None:
    """Tune for each problem, and after each write all to `path`.

    Args:
        planned: The problems, those of one setting in succession.
        device: "cuda", or "cpu" where Triton kernels are interpreted.
        path: File that receives the options; entries of other problems stay.
        facts: What the file tells besides the options; "device" must be that of the file, if there is one.
        budget: Seconds in all; each problem may take an equal part of what is left, or `LEAST`.
        say: Receives lines of text.
        shown: Wraps the problems in a progress bar.

    Raises:
        click.UsageError: The file is another device's.
    """
    entries = read(path, facts["device"])
    end = time.monotonic() + budget
    left = len(planned)
    for one, run in shown(with_calls(planned, device, say)):
        now = time.monotonic()
        if now >= end:
            say(f"No time left for {left} of {len(planned)} problems, from {describe(one.asked)} on.")
            break
        entry = tune_one(one, run, device, max(LEAST, (end - now) / left), entries, say)
        if entry is not None:
            entries = merge(entries, [entry])
            write(path, facts, entries)
        left -= 1


def with_calls(planned: Iterable[Planned], device: str, say: Say) -> Iterator[tuple[Planned, Run]]:
    """Each problem with the call that has it."""
    for (op, case), of_case in groupby(planned, key=lambda one: (one.setting.op, one.setting.case)):
        arguments = SPECIFICATIONS[op].arguments(case, torch.float64, device)
        for setting, of_setting in groupby(of_case, key=lambda one: one.setting):
            module = implementation(op)
            assert isinstance(module, ModuleType)
            runs = calls(setting, module, arguments, say)
            for one in of_setting:
                yield one, runs[one.function]


def tune_one(one: Planned, run: Run, device: str, seconds: float, entries: Sequence[Entry], say: Say) -> Entry | None:
    """The entry for a problem: its default, or faster options if they were found in about so many seconds.

    `entries` are what is known already; None if even the default doesn't run.
    """
    asked, kernel = one.asked, one.asked.kernel
    try:
        default = record(run).get(asked, one.default)
        with forced(kernel, default):
            expected = tensors(run())
            clock = stopwatch(run, device)
    except (TritonError, RuntimeError) as error:
        say(f"{describe(asked)}: the default {show(one.default)} failed: {first_line(error)}")
        return None

    def milliseconds(options: Options) -> float:
        try:
            with forced(kernel, options):
                check(tensors(run()), expected)
                return clock(run)
        except (TritonError, RuntimeError, AssertionError) as error:
            say(f"{describe(asked)}: {show(options)} dropped: {first_line(error)}")
            return math.inf

    def prepare(batch: Sequence[Options]) -> None:
        if device == "cuda":
            compile_ahead(run, kernel, batch)

    deadline = time.monotonic() + seconds  # The default has been compiled by now.
    search = Search(milliseconds, prepare, lambda: time.monotonic() < deadline)
    search.descend(asked, seeds(asked, default, entries))
    best = search.best
    times = in_turn([default, best], milliseconds) if best != default else [search.tried[0][1]] * 2
    if not math.isfinite(times[0]):
        return None
    entry = as_entry(asked, default, best, *times)
    say(
        f"{describe(asked)}: {entry['milliseconds']} ms with {show(entry['options'])}, "
        f"{entry['default_milliseconds']} ms by default; {len(search.tried)} tried"
    )
    return entry


def compile_ahead(run: Run, kernel: str, batch: Sequence[Options]) -> None:
    """Compile a kernel with each of these options at once; errors are left for the launch to raise."""

    def launch(function: Any, programs: int, *arguments: Any, **options: Any) -> None:
        function.warmup(*arguments, grid=(programs,), **COMPILED, **options)

    with (
        substituted(launch=launch),
        ThreadPoolExecutor() as executor,
        triton.AsyncCompileMode(executor, ignore_errors=True),
    ):
        for options in batch:
            with forced(kernel, options), suppress(TritonError, RuntimeError):
                run()


def stopwatch(run: Run, device: str) -> Callable[[Run], float]:
    """What measures the milliseconds of calls like `run`: of a replayed CUDA graph, if `run` can be captured.

    Replays find in the cache what the one before left there, as a layer finds what the one before it wrote.
    """
    if device != "cuda":
        return lambda other: Timer("other()", globals={"other": other}).timeit(1).median * 1e3
    graph: Callable[[Run], float] = partial(do_bench_cudagraph, rep=5, return_mode="median")
    try:
        graph(run)
        return graph
    except RuntimeError:
        return partial(do_bench, warmup=5, rep=25, return_mode="median")


def in_turn(contenders: Sequence[Options], milliseconds: Callable[[Options], float]) -> list[float]:
    """Median times of contenders that are timed one after the other, several times, so that clocks favour none."""
    rounds = [[milliseconds(options) for options in contenders] for _ in range(ROUNDS)]
    return [median(times) for times in zip(*rounds, strict=True)]


def tensors(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return result if isinstance(result, tuple) else (result,)


def check(results: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """Raises AssertionError where results differ by more than sums in another order do."""
    for result, target in zip(results, expected, strict=True):
        close = CLOSE[target.dtype]
        most = target.abs().max().item() if target.numel() else 0.0
        torch.testing.assert_close(result, target, rtol=close, atol=close * most)


def show(options: Options) -> str:
    return " ".join(f"{name}={value}" for name, value in options.items())


def first_line(error: Exception) -> str:
    """The reason in one line; compilers put it last, after the source."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if isinstance(error, triton.compiler.CompilationError) else lines[0]
