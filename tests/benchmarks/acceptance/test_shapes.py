import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.acceptance import shapes
from benchmarks.acceptance.drawn import draw
from benchmarks.acceptance.part import Asked, Report
from benchmarks.acceptance.shapes import Found, compare
from dasr_fast import ops
from dasr_fast.ops.backends import BackendError
from tests.specification import SPECIFICATIONS


def test_numbers_give_always_the_same_calls_of_every_op():
    drawn = [draw(number) for number in range(300)]
    assert drawn == [draw(number) for number in range(300)]
    assert {one.op for one in drawn} == set(SPECIFICATIONS)
    assert {one.dtype for one in drawn} == {torch.float32, torch.float16, torch.bfloat16, torch.uint8}
    assert all(torch.Size(next(iter(one.case.tensors.values())) or ()).numel() <= 2**21 for one in drawn)


def test_the_reference_is_right():
    found = Found()
    for number in range(40):
        compare(draw(number), "cpu", found)
    assert found.checked == 40
    assert found.failures == []


def test_only_calls_that_something_computes_are_made_and_counted(monkeypatch: pytest.MonkeyPatch):
    def refuse(**_: object) -> Tensor:
        raise BackendError("it doesn't take this")

    everything = shapes.candidates
    monkeypatch.setattr(shapes, "candidates", lambda op, *others: () if op == "conv3x3" else everything(op, *others))
    shares = [list(shapes.share(first, 2, 61, "cpu", "")) for first in (0, 1)]
    assert list(map(len, shares)) == [31, 30]
    for first, drawn in enumerate(shares):
        assert {one.op for one in drawn} == set(SPECIFICATIONS) - {"conv3x3"}
        assert all(one == draw(one.number) and one.number % 2 == first for one in drawn)
    monkeypatch.setattr(shapes, "candidates", lambda *_: [])
    assert list(shapes.share(0, 1, 61, "cpu", "")) == []
    found = Found()
    compare(shares[0][0], "cpu", found)
    monkeypatch.setattr(shapes, "candidates", lambda *_: [("refuses", refuse, False)])
    compare(shares[0][0], "cpu", found)
    assert found.checked == 0
    assert sum(found.refused.values()) == 1


def test_one_backend_is_compared_alone():
    found = Found()
    compare(draw(0), "cpu", found, "reference")
    assert found.checked == 1
    assert {key.split(", ")[1] for key in found.counts} == {"reference"}
    assert [name for name, *_ in shapes.candidates("da_conv", "cpu", "")][-1:] == ["reference"]
    assert list(shapes.share(0, 1, 61, "cpu", "cuda")) == []


@pytest.mark.parametrize("calls", [0, 1])
def test_it_fails_if_nothing_was_compared(calls: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shapes, "FEW", calls)
    report = Report("shapes")
    shapes.run(Asked(tmp_path, "cpu", time.monotonic() + 60), report)
    assert report.failures == ([] if calls else ["nothing was compared"])
    assert report.line.startswith(f"{calls} of {calls} calls")


@pytest.mark.parametrize("op", [op for op in SPECIFICATIONS if op != "da_half_block"])
def test_one_wrong_number_of_many_is_found(op: str, monkeypatch: pytest.MonkeyPatch):
    def wrong(**arguments: object) -> Tensor:
        y = getattr(ops, op)(**arguments, backend="reference")
        y[..., -1:, -1:] += 0.2 * y.abs().max()
        return y

    numbers = (n for n in range(1000) if draw(n).op == op)
    drawn = next(d for d in map(draw, numbers) if torch.Size(next(iter(d.case.tensors.values())) or ()).numel() > 10**4)
    monkeypatch.setattr(shapes, "candidates", lambda *_: [("wrong", wrong, False)])
    found = Found()
    compare(drawn, "cpu", found)
    assert len(found.failures) == 1
    assert "wrong, result is off by" in found.failures[0]
    assert f"number {drawn.number}: {op}" in found.failures[0]


def test_a_failure_that_other_values_do_not_have_is_only_noted(monkeypatch: pytest.MonkeyPatch):
    calls: Counter[str] = Counter()

    def once(*_: object) -> dict[str, float]:
        calls["all"] += 1
        return {"result": 7.0 if calls["all"] == 1 else 0.5}

    monkeypatch.setattr(shapes, "candidates", lambda *_: [("some", torch.relu, False)])
    monkeypatch.setattr(shapes, "_errors", once)
    found = Found()
    compare(draw(0), "cpu", found)
    assert found.failures == []
    assert len(found.seldom) == 1


def test_results_of_processes_are_put_together():
    total = Found(1, {"a": 2}, {"a": 0.5}, {}, [], ["x"])
    total.add(Found(2, {"a": 1, "b": 1}, {"a": 0.25, "b": 0.75}, {"c": 1}, ["y"], []))
    assert total == Found(3, {"a": 3, "b": 1}, {"a": 0.5, "b": 0.75}, {"c": 1}, ["y"], ["x"])


@pytest.mark.parametrize(("since", "failures"), [(200.0, 1), (10.0, 0)])
def test_a_call_that_hangs_is_a_failure(since: float, failures: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A process that is stopped has found what it had written; it may have been compiling."""
    end = time.monotonic() + 3
    script = tmp_path / "python"
    script.write_text(
        "#!/bin/sh\n"
        f'echo \'{{"checked": 5, "counts": {{"a": 9}}, "call": "da_conv", "since": {end - since}}}\' > "$3"\n'
        "exec sleep 60\n"
    )
    script.chmod(0o755)
    monkeypatch.setattr(shapes.sys, "executable", str(script))
    report = Report("shapes")
    shapes.run(Asked(tmp_path, "cpu", end), report)
    assert report.line == f"5 of {shapes.FEW} calls, 9 comparisons"
    assert report.failures == ["the process of shapes-0.json was stopped in its call, da_conv"] * failures
