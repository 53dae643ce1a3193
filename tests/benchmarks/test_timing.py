import math

import pytest
import torch

from benchmarks import timing
from benchmarks.timing import Effort, Prepared, compare, difference
from benchmarks.work import BASELINE, Contender, Work
from dasr_fast.training.step import Function, Losses, Repeated

SHORT = Effort(seconds=0, least=4, most=4, round_seconds=0)


def test_wrong_results_are_wrong_and_not_timed(work: Work):
    results = {result.contender: result for result in compare(work, "cpu", SHORT)}
    assert list(results) == list(work.contenders)
    timed = [name for name, result in results.items() if result.seconds]
    assert timed == [BASELINE, "half", "other"]
    assert all(len(results[name].seconds) == 4 for name in timed)
    assert [name for name, result in results.items() if result.wrong] == ["inexact", "nan", "grey", "other shape"]
    assert results["nan"].error == math.inf
    assert results["grey"].error == pytest.approx(1)
    assert results["absent"].failure == "it needs a GPU."
    assert results["other"].error > 0.1
    assert results["other"].other == "adds 2"
    assert results[BASELINE].operations == 10


def test_contenders_take_turns():
    calls = []

    def contender(name: str) -> Contender:
        return Contender(lambda: lambda: calls.append(name) or torch.ones(2))

    work = Work("suite", "label", tuple, {"a": contender("a"), "b": contender("b")}, None, lambda _: 0.0)
    results = compare(work, "cpu", SHORT)
    assert "".join(calls)[-8:] == "baab" * 2
    assert [result.error for result in results] == [None, None]


@pytest.mark.parametrize(("device", "before"), [("cuda", ["captured", "replayed"]), ("cpu", [])])
def test_graphs_are_captured_before_anything_is_timed(device: str, before: list[str], monkeypatch: pytest.MonkeyPatch):
    happened: list[str] = []

    class Capture:
        def run(self, function: Function) -> Losses:
            return function()

        def __call__(self, function: Function) -> Function:
            happened.append("captured")
            return lambda: happened.append("replayed") or {}

    def measure(self: Prepared, repeats: int) -> tuple[float, float]:
        happened.append("timed")
        return 1.0, 0.1

    monkeypatch.setattr(timing, "_copies", lambda *_: 1)
    monkeypatch.setattr(Prepared, "measure", measure)
    step = Contender(lambda: Repeated(dict, Capture()))
    work = Work("suite", "label", tuple, {BASELINE: step}, None, lambda _: 0.0, read=lambda _: [])
    compare(work, device, SHORT)
    assert happened == [*before, *5 * ["timed"]]


def test_inputs_are_copied_and_arranged():
    x = torch.zeros(2)
    add = Contender(lambda: lambda y: y.add_(1), lambda inputs: (inputs[0] + 1,))
    prepared = Prepared(add, (x,), "cpu")
    assert prepared().tolist() == [2, 2]
    assert x.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("it needs a GPU.\nThe rest isn't told.", "it needs a GPU."),
        (
            "backend='inductor' raised:\n\n  NoCompiler: none was found\nTraceback",
            "backend='inductor' raised: NoCompiler: none was found",
        ),
        ("\nraised:\n", "raised:"),
        ("", "ValueError"),
    ],
)
def test_reasons_are_whole_sentences(said: str, reason: str):
    assert timing.reason(ValueError(said)) == reason


def test_difference_ignores_the_mean():
    expected = torch.tensor([99.0, 101.0], dtype=torch.float64)
    assert difference(torch.tensor([99.0, 102.0]), expected) == pytest.approx(1 / 2**0.5)
    assert difference(torch.tensor(2.2), torch.tensor(2.0, dtype=torch.float64)) == pytest.approx(0.1)
