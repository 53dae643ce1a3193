"""The works of run.py for pytest-benchmark: each contender is checked, then timed by itself."""

from typing import Any

import pytest
import torch

from benchmarks.timing import Effort, checked
from benchmarks.work import Work

EFFORT = Effort(seconds=0.5, least=3)


def test_benchmark(work: Work, contender: str, benchmark: Any) -> None:
    inputs = work.inputs()
    expected = None if work.expected is None else work.read(work.expected(*inputs))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    result, prepared = checked(work, contender, inputs, expected, device)
    if result.failure:
        pytest.skip(result.failure)
    assert prepared is not None, f"wrong: {result.error} from float64"
    seconds, _ = prepared.measure(1)
    iterations = max(1, int(EFFORT.round_seconds / seconds))
    rounds = min(EFFORT.most, max(EFFORT.least, int(EFFORT.seconds / (seconds * iterations))))
    benchmark.group = f"{work.suite}: {work.label}"
    benchmark.extra_info["error"] = result.error

    def call() -> None:
        prepared()
        if device == "cuda":
            torch.cuda.synchronize()

    benchmark.pedantic(call, rounds=rounds, iterations=iterations)
