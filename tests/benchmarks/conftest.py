"""What tests of the benchmarks share."""

from typing import Any

import pytest
import torch

from benchmarks.harness.results import Result, Run
from benchmarks.harness.work import BASELINE, Contender, Work


@pytest.fixture
def work() -> Work:
    """A work with a contender of every kind."""

    def fails() -> None:
        raise RuntimeError("it needs a GPU.\nThe rest isn't told.")

    contenders = {
        BASELINE: Contender(lambda: lambda x: x + 1),
        "inexact": Contender(lambda: lambda x: x + 1 + 1e-3 * torch.randn_like(x)),
        "half": Contender(lambda: lambda x: (x + 1).half(), dtype="float16"),
        "nan": Contender(lambda: lambda x: x * torch.nan),
        "grey": Contender(lambda: lambda x: x.mean().expand_as(x) + 1),
        "other shape": Contender(lambda: lambda x: (x + 1)[:5]),
        "absent": Contender(fails),
        "other": Contender(lambda: lambda x: x + 2, other="adds 2"),
    }
    return Work(
        "suite",
        "label",
        lambda: (torch.arange(10.0),),
        contenders,
        lambda x: x.double() + 1,
        {"float32": 1e-5, "float16": 1e-2}.__getitem__,
        operations=lambda: 10,
        bytes_moved=80,
    )


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
            Result("scaling", f"x4 of {side}x{side}", name, [time * side], operations=side**2, pixels=side**2)
            for side in (48, 96)
            for name, time in ((BASELINE, 2.0), ("Engine fp32", 1.0))
        ),
        Result("scaling", "x4 of 48x48, batch 2", BASELINE, [3.0], operations=5000, pixels=2 * 48 * 48),
    ]
    machine = {"device": "A CPU", "kind": "cpu", "instructions": "AVX2", "threads": 2, "torch": "2.13"}
    ceilings = {"float32": 1e3, "bytes": 1e2}
    return Run(machine, "the released code", ceilings, ["ops: max-autotune, which takes long."], results, {"id": "abc"})
