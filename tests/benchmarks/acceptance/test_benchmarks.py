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
