import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("triton")

from triton.runtime.driver import driver

from benchmarks.gpu import tune
from benchmarks.gpu.tune import Planned, Setting, fastest, neighbours
from dasr_fast.kernels import options as launch_options
from dasr_fast.kernels.options import Options, Problem
from dasr_fast.ops.backends import INTERPRETED
from tests.kernels.compilation import AbsentGPU
from tests.specification import SPECIFICATIONS

DEFAULT = {"BLOCK_C": 32, "BLOCK_W": 16, "ROWS": 8, "num_warps": 4}
FACTS = {"device": "NVIDIA Test", "capability": [9, 0], "torch": "2", "triton": "3"}
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="set TRITON_INTERPRET=1 to run kernels on the CPU")


def planned(op: str, label: str = "", dtype: str = "float32", layout: str = "contiguous") -> list[Planned]:
    cases = [case for case in SPECIFICATIONS[op].cases if label in ("", case.label)]
    return list(tune.plan([Setting(op, cases[0], dtype, layout)], pytest.fail))


def search(times: Any, seeds: list[Options], limit: float = math.inf) -> tuple[Options, list[Options]]:
    """The fastest options for made-up times, and all that were timed."""
    timed: list[Options] = []
    prepared: list[Options] = []
    best, tried = fastest(seeds, lambda o: timed.append(o) or times(o), prepared.extend, lambda: len(timed) < limit)
    assert tried == len(timed) == len({tuple(options.items()) for options in timed})
    assert timed[1:] == prepared
    return best, timed


def bowl(**best: int) -> Any:
    """Times that grow with the factors by which options miss the best."""
    return lambda options: 1 + sum(abs(math.log2(options[name] / value)) for name, value in best.items())


def test_neighbours_are_halved_or_doubled_within_bounds():
    changed = [{k: v for k, v in o.items() if DEFAULT[k] != v} for o in neighbours(DEFAULT, DEFAULT, 1)]
    assert changed == [{name: new} for name, value in DEFAULT.items() for new in (2 * value, value // 2)]
    staged = {"num_stages": 1, "maxnreg": 64}
    assert [o["num_stages"] for o in neighbours(staged, staged, 1)] == [2]
    grown = {**DEFAULT, "BLOCK_W": 64}
    assert {o["BLOCK_W"] for o in neighbours(DEFAULT, grown, 1)} == {32, 64}
    assert {**grown, "BLOCK_W": 128, "num_warps": 8} in neighbours(DEFAULT, grown, 2)


def test_search_finds_the_fastest_and_times_nothing_twice():
    best = {"BLOCK_C": 16, "BLOCK_W": 64, "ROWS": 2, "num_warps": 2}
    assert search(bowl(**best), [DEFAULT])[0] == best
    far = {"BLOCK_C": 1, "BLOCK_W": 128, "ROWS": 1, "num_warps": 1}
    found, timed = search(bowl(**far), [DEFAULT, far])
    assert (found, timed[:2]) == (far, [DEFAULT, far])


def test_search_avoids_what_does_not_work_and_stays_where_all_are_equal():
    working = bowl(BLOCK_W=32)
    found, _ = search(lambda o: math.inf if o["num_warps"] != 4 else working(o), [DEFAULT])
    assert found == {**DEFAULT, "BLOCK_W": 32}
    assert search(lambda options: 1.0, [DEFAULT])[0] == DEFAULT


def test_search_ends_when_time_does():
    assert len(search(bowl(BLOCK_W=256), [DEFAULT, {**DEFAULT, "ROWS": 4}], limit=2)[1]) == 2
    assert search(bowl(BLOCK_W=256), [DEFAULT, {**DEFAULT, "ROWS": 4}], limit=0)[1] == [DEFAULT]


def test_what_matters_most_is_tuned_first_in_every_type_layout_and_scale():
    features = tune.settings(["channel_modulation", "da_conv"])
    assert len({(s.op, s.case.tensors["x"], s.dtype, s.layout) for s in features}) == 2 * 2 * 3 * 2
    assert {(s.dtype, s.layout) for s in features[:4]} == {("float16", "channels_last")}
    images = {(s.case.options["scale"], s.dtype, s.layout) for s in tune.settings(["blur_downsample"])}
    assert images == {(n, dtype, "contiguous") for n in (2, 3, 4) for dtype in ("float32", "uint8")}


@pytest.mark.parametrize("layout", tune.LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_problems_of_forward_and_backward_are_found_once(dtype: str, layout: str):
    found = planned("dynamic_depthwise_conv", "", dtype, layout)
    assert [one.function for one in found] == ["dynamic_depthwise_conv", "dynamic_depthwise_conv_backward"]
    assert len({one.asked.kernel for one in found}) == 2
    assert {(one.asked.dtype, one.asked.layout) for one in found} == {(dtype, layout)}
    assert len(list(tune.plan([found[0].setting] * 2, pytest.fail))) == 2


def test_what_kernels_cannot_do_is_said():
    said: list[str] = []
    setting = Setting("channel_modulation", SPECIFICATIONS["channel_modulation"].cases[0], "float64", "contiguous")
    assert list(tune.plan([setting], said.append)) == []
    assert said == ["channel_modulation, small, float64, contiguous: it computes in float32, and x is float64"]


def test_a_changed_result_is_noticed():
    expected = torch.randn(50, 40)
    tune.check(expected + 1e-5, expected)
    for wrong in (expected + 0.01, expected.where(expected != expected.max(), 0), expected * torch.nan):
        with pytest.raises(AssertionError):
            tune.check([expected, wrong], [expected, expected])
    tune.check(expected[:0], expected[:0])


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_kernels_are_compiled_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(driver, "_active", AbsentGPU((10, 0)))  # No other test compiles for it, and keeps that.
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    one = planned("channel_modulation")[0]
    run = tune.calls(one.setting, "meta", pytest.fail)[one.function]
    impossible = {**one.default, "BLOCK_W": 3}
    tune.compile_ahead(run, one.asked.kernel, [one.default, {**one.default, "num_warps": 2}, impossible])
    assert len(list(tmp_path.rglob("*.cubin"))) == 2


def tune_here(
    path: Path, found: list[Planned], monkeypatch: pytest.MonkeyPatch, times: Any = lambda: 2.0
) -> tuple[dict[str, Any], list[str]]:
    """What the file holds after tuning on the CPU with few neighbours and given times, and what was said."""
    monkeypatch.setattr(tune, "neighbours", lambda *given: list(neighbours(*given))[:2] if given[2] == 1 else [])
    monkeypatch.setattr(tune, "stopwatch", lambda run, device: lambda other: times())
    said: list[str] = []
    tune.tune(found, "cpu", path, FACTS, 600, said.append)
    return json.loads(path.read_text()), said


@needs_interpreter
@pytest.mark.parametrize("op", ["dynamic_depthwise_conv", "channel_modulation"])
def test_interpreted_kernels_are_tuned(op: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path, found = tmp_path / "test.json", planned(op, "one pixel")
    content, said = tune_here(path, found, monkeypatch)
    assert {name: content[name] for name in FACTS} == FACTS
    assert {one.asked.kernel: one.default for one in found} == {e["kernel"]: e["options"] for e in content["tuned"]}
    assert not any(text.endswith(" 1 tried") for text in said)
    assert tune_here(path, found[:1], monkeypatch)[0] == content
    assert found_by_kernels(path, monkeypatch) == {one.asked: one.default for one in found}


def found_by_kernels(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[Problem, Options]:
    """What `kernels/options.py` finds in a file."""
    monkeypatch.setattr(launch_options, "CONFIGURATIONS", path.parent)
    launch_options.tuned.cache_clear()
    try:
        return {problem: dict(options) for problem, options in launch_options.tuned("NVIDIA Test", (9, 0))}
    finally:
        launch_options.tuned.cache_clear()


@needs_interpreter
@pytest.mark.parametrize(("seconds", "kept"), [(1.96, True), (1.98, False)])
def test_only_what_is_clearly_faster_replaces_the_default(
    seconds: float, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    one = planned("channel_modulation", "one pixel")[0]
    forced = launch_options._forced

    def times() -> float:
        return 2.0 if forced[one.asked.kernel] == one.default else seconds

    (entry,) = tune_here(tmp_path / "test.json", [one], monkeypatch, times)[0]["tuned"]
    assert (entry["options"] != one.default, entry["milliseconds"]) == (kept, seconds if kept else 2.0)
    assert entry["default_milliseconds"] == 2.0


@needs_interpreter
def test_options_that_change_the_result_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = planned("channel_modulation", "one pixel")[0]
    right = tune.calls(one.setting, "cpu", pytest.fail)[one.function]

    def wrong_unless_default() -> Any:
        default = launch_options._forced.get(one.asked.kernel, one.default) == one.default
        return right() * (1 if default else 2)

    monkeypatch.setattr(tune, "calls", lambda *given: {one.function: wrong_unless_default})
    content, said = tune_here(tmp_path / "test.json", [one], monkeypatch, lambda: 1.0)
    assert content["tuned"][0]["options"] == one.default
    assert any("dropped: " in text for text in said)


def test_without_time_nothing_is_tuned(tmp_path: Path):
    said: list[str] = []
    tune.tune(planned("channel_modulation"), "cpu", tmp_path / "test.json", FACTS, 0, said.append)
    assert said == ["No time left for 2 of 2 problems, from modulation, float32, contiguous, 2x8x1x63 on."]
    assert not (tmp_path / "test.json").exists()


def test_a_dry_run_lists_what_would_be_tried():
    result = CliRunner().invoke(tune.main, ["--dry-run", "--op", "channel_modulation"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == "24 problems" == f"{len(lines) - 1} problems"
    assert all("BLOCK_W" in line for line in lines[:-1])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so():
    result = CliRunner().invoke(tune.main, [])
    assert result.exit_code == 1
    assert result.output == "Error: No NVIDIA GPU was found; --dry-run lists what would be tried on one.\n"
