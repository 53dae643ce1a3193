import json
import math
from pathlib import Path
from typing import Any

import click
import pytest

pytest.importorskip("triton")

from tuning_helpers import ASKED, DEFAULT, FACTS, entry

from benchmarks.tuning import entries
from dasr_fast.kernels import options as launch_options


@pytest.mark.parametrize(("milliseconds", "kept"), [(0.5, True), (0.98, True), (0.99, False), (math.inf, False)])
def test_only_what_is_clearly_faster_replaces_the_default(milliseconds: float, kept: bool):
    best = {**DEFAULT, "ROWS": 4}
    stored = entries.as_entry(ASKED, DEFAULT, best, 1.0, milliseconds)
    assert stored["options"] == (best if kept else DEFAULT)
    assert (stored["milliseconds"], stored["default_milliseconds"]) == (milliseconds if kept else 1.0, 1.0)


def test_seeds_are_those_of_the_nearest_sizes_and_the_same_type_first():
    def known(rows: int, **problem: Any) -> entries.Entry:
        return {**entry(**problem), "options": {**DEFAULT, "ROWS": rows}}

    known_entries = [
        known(1, dtype="float32", sizes=(32, 48, 20, 30, 3)),
        known(2, sizes=(1, 48, 500, 500, 3)),
        known(3, sizes=(16, 48, 20, 30, 3)),
        known(4, layout="contiguous"),
        known(5, kernel="depthwise_backward"),
        {**known(6, dtype="bfloat16"), "options": {"BLOCK_OF_OLD": 2}},
    ]
    assert [options["ROWS"] for options in entries.seeds(ASKED, DEFAULT, known_entries)[1:]] == [3, 1, 3]


def test_merging_replaces_the_same_problem_and_sorts():
    old = [entry(sizes=(2, 1)), entry(kernel="a"), entry(dtype="float32")]
    merged = entries.merge(old, [entry(0.5, kernel="a"), entry(sizes=(10, 1))])
    assert [(e["kernel"], e["dtype"], e["sizes"][0]) for e in merged] == [
        ("a", "float16", 32),
        ("depthwise", "float16", 2),
        ("depthwise", "float16", 10),
        ("depthwise", "float32", 32),
    ]
    assert merged[0]["milliseconds"] == 0.5


def test_the_file_is_what_kernels_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "test.json"
    entries.write(path, FACTS, [entry(), entry(dtype="float32")])
    monkeypatch.setattr(launch_options, "CONFIGURATIONS", tmp_path)
    launch_options.tuned.cache_clear()
    try:
        (problem, options), _ = launch_options.tuned("NVIDIA Test", (9, 0))
    finally:
        launch_options.tuned.cache_clear()
    assert problem == ASKED
    assert dict(options) == DEFAULT


def test_the_file_has_a_line_for_each_entry(tmp_path: Path):
    path = tmp_path / "test.json"
    two = [entry(), entry(dtype="float32")]
    entries.write(path, FACTS, two)
    assert json.loads(path.read_text()) == {**FACTS, "tuned": two}
    assert [json.loads(line.rstrip(",")) for line in path.read_text().splitlines()[6:8]] == two
    assert entries.read(path, "NVIDIA Test") == two
    entries.write(path, FACTS, [])
    assert entries.read(path, "NVIDIA Test") == []


def test_another_devices_file_is_left_alone(tmp_path: Path):
    assert entries.read(tmp_path / "test.json", "NVIDIA Test") == []
    entries.write(tmp_path / "test.json", FACTS, [])
    with pytest.raises(click.UsageError, match="holds options for NVIDIA Test, and this is another"):
        entries.read(tmp_path / "test.json", "another")
