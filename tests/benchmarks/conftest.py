"""What tests of the benchmarks share."""

from typing import Any

import pytest

from benchmarks.harness.results import Result, Run
from benchmarks.harness.work import BASELINE


@pytest.fixture
def run() -> Run:
    """A run as it is written: times, a wrong result, one that failed, and memory."""
    right: dict[str, Any] = {"error": 1e-7, "tolerance": 1e-5, "operations": 100, "bytes_moved": 80}
    results = [
        Result("ops", "op 2x3x4x5", BASELINE, [2.0, 2.2, 2.1], **right),
        Result("ops", "op 2x3x4x5", "dasr-fast", [1.0, 1.1, 1.2], **right),
        Result("ops", "op 2x3x4x5", "wrong", error=0.5, tolerance=1e-5),
        Result("ops", "op 2x3x4x5", "absent", failure="it needs a GPU."),
        Result("ops", "op 2x3x4x5", "another", [1.0, 1.0, 1.0], error=0.5, other="the border differs"),
        Result("memory", "x4 of 8x8", BASELINE, peak=4_000_000, process=5_000_000),
        Result("memory", "x4 of 8x8", "dasr-fast", peak=2_000_000, process=3_000_000),
        *(
            Result("network", f"x4 of {side}x{side}", name, [time * side], operations=side**2, pixels=side**2)
            for side in (48, 96)
            for name, time in ((BASELINE, 2.0), ("Engine fp32", 1.0))
        ),
    ]
    machine = {"device": "A CPU", "kind": "cpu", "instructions": "AVX2", "threads": 2, "torch": "2.13"}
    ceilings = {"float32": 1e3, "bytes": 1e2}
    return Run(machine, "the released code", ceilings, ["ops: max-autotune, which takes long."], results, {"id": "abc"})
