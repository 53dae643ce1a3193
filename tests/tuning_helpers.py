"""A problem to tune, and what is known of it."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.tuning.entries import Entry, as_entry
from benchmarks.tuning.problems import Planned, Setting, plan
from dasr_fast.kernels.options import Problem
from tests.specification import Case

ASKED = Problem("depthwise", "float16", "channels_last", (32, 48, 20, 30, 3))
DEFAULT = {"BLOCK_C": 32, "BLOCK_W": 16, "ROWS": 8, "num_warps": 4}
FACTS = {"device": "NVIDIA Test", "capability": [9, 0], "torch": "2", "triton": "3"}


def entry(milliseconds: float = 1.0, **problem: Any) -> Entry:
    return as_entry(replace(ASKED, **problem), DEFAULT, DEFAULT, 1.0, milliseconds)


def planned(op: str, case: Case, dtype: str = "float32", layout: str = "contiguous") -> list[Planned]:
    return list(plan([Setting(op, case, dtype, layout)], pytest.fail))
