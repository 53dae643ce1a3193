import pytest
import torch

from benchmarks.ops import works
from benchmarks.timing import BASELINE, Result, Work, compare, speedups


def test_a_wrong_result_is_wrong_and_not_timed():
    expected = torch.ones(3, dtype=torch.float64)
    work = Work(
        "suite",
        "label",
        {
            BASELINE: lambda: torch.ones(3),
            "wrong": lambda: torch.ones(3) * 1.01,
            "nan": lambda: torch.ones(3) * torch.nan,
        },
        lambda: expected,
    )
    right, wrong, nan = compare(work, rounds=2, seconds_per_round=0)
    assert (right.wrong, wrong.wrong, nan.wrong) == (False, True, True)
    assert len(right.seconds) == 2
    assert wrong.error == pytest.approx(0.01, rel=1e-4)
    assert list(speedups([right, wrong, nan])) == [BASELINE]


def test_speedup_is_a_ratio_of_medians():
    work = Work("suite", "label", {}, None)
    results = [Result(work, BASELINE, [1.0, 4.0, 9.0], None), Result(work, "fast", [1.0, 2.0, 1.5], None)]
    assert speedups(results) == {BASELINE: 1.0, "fast": 4.0 / 1.5}


def test_every_contender_of_the_ops_is_right():
    for work in works("cpu", quick=True):
        assert BASELINE in work.contenders
        assert not any(result.wrong for result in compare(work, rounds=1, seconds_per_round=0)), work.label
