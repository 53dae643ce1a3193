import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.harness.results import Run, ratios, read, write
from benchmarks.harness.work import BASELINE


def test_a_file_holds_all_of_a_run(run: Run, tmp_path: Path):
    write(run, tmp_path / "results.json")
    assert read(tmp_path / "results.json") == run


def test_pytest_benchmark_reads_it(run: Run, tmp_path: Path):
    write(run, tmp_path / "0001_before.json")
    command = [sys.executable, "-m", "pytest_benchmark", "compare", str(tmp_path / "0001_before.json")]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "op 2x3x4x5[dasr-fast]" in shown.stdout


@pytest.mark.parametrize("content", ["", "{}", json.dumps({"benchmarks": []})])
def test_other_files_are_refused(content: str, tmp_path: Path):
    (tmp_path / "other.json").write_text(content)
    with pytest.raises(ValueError, match=r"other\.json holds no results"):
        read(tmp_path / "other.json")


def test_ratios_are_of_medians(run: Run):
    by_work = run.works()
    assert ratios(by_work["ops", "op 2x3x4x5"]) == pytest.approx({BASELINE: 1, "dasr-fast": 2.1 / 1.1, "another": 2.1})
    assert ratios(by_work["memory", "x4 of 8x8"]) == {BASELINE: 1, "dasr-fast": 2}
    assert ratios(by_work["ops", "op 2x3x4x5"][1:]) == {}


def test_the_floor_is_the_higher_one(run: Run):
    assert run.floor(run.results[0]) == 0.8
    run.results[0].operations = 1000
    assert run.floor(run.results[0]) == 1.0
    assert run.floor(run.results[2]) is None
