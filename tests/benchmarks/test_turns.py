import math
from functools import partial
from pathlib import Path

import benchmark_works
import pytest
import torch

from benchmarks.harness import contender
from benchmarks.harness.contender import Contends, difference, reason
from benchmarks.harness.tables import confirmation
from benchmarks.harness.turns import Effort, compare
from benchmarks.harness.work import BASELINE, Contender, Settings, Work
from dasr_fast.training.step import Function, Losses, Repeated

SHORT = Effort(seconds=0, least=4, most=4, round_seconds=0)


def test_wrong_results_are_wrong_and_not_timed(tmp_path: Path):
    results = {r.contender: r for r in compare(benchmark_works.work, Settings(folder=tmp_path), SHORT)}
    assert list(results) == list(benchmark_works.work().contenders)
    timed = [name for name, result in results.items() if result.seconds]
    assert timed == [BASELINE, "half", "arranged", "other"]
    assert all(len(results[name].seconds) == 4 for name in timed)
    assert [name for name, result in results.items() if result.wrong] == ["inexact", "nan", "grey", "other shape"]
    assert results["nan"].error == math.inf
    assert results["grey"].error == pytest.approx(1)
    assert results["other"].error > 0.1
    assert results["other"].other == "adds 2"
    assert results[BASELINE].operations == 10
    failures = {name: (result.failure, result.absent) for name, result in results.items() if result.failure}
    assert failures == {
        "fails": ("it needs a GPU.", False),
        "lacks": ("No module named 'a_package_that_nobody_has'", True),
        "absent": ("there is none here", True),
        "dies": ("its process ended with status 3", False),
    }


def test_contenders_take_turns_in_processes_of_their_own(tmp_path: Path):
    calls, settings = tmp_path / "calls", Settings(folder=tmp_path)
    results = compare(partial(benchmark_works.two, calls), settings, SHORT, again=True, profiles=tmp_path)
    names, processes = zip(*(line.split() for line in calls.read_text().splitlines()), strict=True)
    initials = "".join(name[0] for name in names)
    # Built and settled, four rounds, a profile, then each alone: built, settled, four rounds.
    assert initials == "rroo" + "orro" * 2 + "ro" + "r" * 6 + "o" * 6
    first, second = ({p for n, p in zip(names, processes, strict=True) if n[0] == initial} for initial in "ro")
    assert (len(first), len(second), first & second) == (2, 2, set())
    assert all(result.alone is not None for result in results)
    assert "aten::add" in (tmp_path / "suite-label-other.txt").read_text()


def test_memory_is_that_of_a_call(tmp_path: Path):
    small, large = sorted(compare(benchmark_works.memory, Settings(folder=tmp_path), SHORT), key=lambda r: r.peak)
    assert (small.contender, large.contender) == ("other", BASELINE)
    assert 6e6 < large.peak - small.peak < 10e6
    assert small.process > small.peak
    assert not small.seconds
    # Figures that differ where a contender is alone are named.
    assert (large.confirmed, confirmation([large])) == (None, [])
    for factor, confirmed in ((1.0, True), (1.1, True), (1.2, False), (0.8, False)):
        large.alone = factor * large.peak
        assert large.confirmed is confirmed
        count, *differ = confirmation([large])
        assert count == f"{int(confirmed)} of 1 figures are within 15% of those of a fresh process alone."
        assert differ == ([] if confirmed else [f"suite: label: released: alone {factor:.2f} times as much."])


@pytest.mark.parametrize(("device", "before"), [("cuda", ["captured", "replayed"]), ("cpu", [])])
def test_graphs_are_captured_before_anything_is_timed(
    device: str, before: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    happened: list[str] = []

    class Capture:
        def run(self, function: Function) -> Losses:
            return function()

        def __call__(self, function: Function) -> Function:
            happened.append("captured")
            return lambda: happened.append("replayed") or {}

    monkeypatch.setattr(contender, "_copies", lambda *_: 1)
    monkeypatch.setattr(Contends, "seconds", lambda self, repeats: happened.append("timed") or (1.0, 0.1))
    step = Contender(lambda: Repeated(dict, Capture()))
    work = Work("suite", "label", tuple, {BASELINE: step}, None, lambda _: 0.0, read=lambda _: [])
    Contends(work, tmp_path, BASELINE, "cpu").draw()
    one = Contends(work, tmp_path, BASELINE, device)
    one.build()
    one.settle()
    assert happened == [*before, "timed"]


def test_reasons_are_whole_sentences():
    told = "backend='inductor' raised: NoCompiler: none was found"
    assert reason(ValueError("it needs a GPU.\nThe rest isn't told.")) == "it needs a GPU."
    assert reason(ValueError("backend='inductor' raised:\n\n  NoCompiler: none was found\nTraceback")) == told
    assert (reason(ValueError("\nraised:\n")), reason(ValueError(""))) == ("raised:", "ValueError")


def test_difference_ignores_the_mean():
    expected = torch.tensor([99.0, 101.0], dtype=torch.float64)
    assert difference(torch.tensor([99.0, 102.0]), expected) == pytest.approx(1 / 2**0.5)
    assert difference(torch.tensor(2.2), torch.tensor(2.0, dtype=torch.float64)) == pytest.approx(0.1)
