import sys
import time
from pathlib import Path

import pytest

from benchmarks.acceptance import build
from benchmarks.acceptance.part import AbsentError, Asked, Report


def test_without_ninja_the_part_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "ninja", None)
    report = Report("build")
    with pytest.raises(AbsentError, match="it needs the Python package ninja"):
        build.run(Asked(tmp_path, "cpu", time.monotonic() + 60), report)
    assert report.failures == []
