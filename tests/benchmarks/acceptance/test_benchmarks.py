import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.acceptance import benchmarks
from benchmarks.acceptance.part import Asked, Report
from benchmarks.results import read
from benchmarks.work import Work


def test_works_for_which_no_time_is_left_are_listed_and_not_counted(
    work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    planned = [(work, False), (replace(work, label="slow"), True)]
    monkeypatch.setattr(benchmarks, "plan", lambda *_: planned)
    monkeypatch.setattr(benchmarks.machine, "ceilings", lambda *_: {"float32": 1e9, "bytes": 1e9})  # Takes time.
    report = Report("benchmarks")
    benchmarks.run(Asked(tmp_path, "cpu", time.monotonic() + benchmarks.NEEDED_TO_COMPILE - 1), report)
    assert report.line == "1 of 2 works, 0 targets reached"
    known = read(tmp_path / "results.json")
    assert known.left_out[-1] == "suite: slow, compiled: no time was left."
    assert {result.work for result in known.results} == {"label"}


def test_a_work_that_fails_does_not_take_the_others_down(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def no_inputs() -> tuple[object, ...]:
        raise RuntimeError("no memory for them")

    broken = replace(work, label="broken", inputs=no_inputs)
    monkeypatch.setattr(benchmarks, "plan", lambda *_: [(broken, False), (work, False)])
    monkeypatch.setattr(benchmarks.machine, "ceilings", lambda *_: {"float32": 1e9, "bytes": 1e9})
    report = Report("benchmarks")
    benchmarks.run(Asked(tmp_path, "cpu", time.monotonic() + 60), report)
    assert report.failures == ["suite suite: broken: RuntimeError: no memory for them"]
    assert {result.work for result in read(tmp_path / "results.json").results} == {"label"}
    assert (tmp_path / "results.md").exists()


def test_what_is_known_is_shown_before_anything_compiles(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def shown() -> tuple[object, ...]:
        assert "label" in (tmp_path / "results.md").read_text()
        return work.inputs()

    monkeypatch.setattr(
        benchmarks, "plan", lambda *_: [(work, False), (replace(work, label="slow", inputs=shown), True)]
    )
    monkeypatch.setattr(benchmarks.machine, "ceilings", lambda *_: {"float32": 1e9, "bytes": 1e9})
    report = Report("benchmarks")
    benchmarks.run(Asked(tmp_path, "cpu", time.monotonic() + 600), report)
    assert report.failures == []
    assert {result.work for result in read(tmp_path / "results.json").results} == {"label", "slow"}
