import json
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from dasr_fast.ops.backends import INTERPRETED
from dasr_fast.specification import SPECIFICATIONS, Case

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from benchmarks import tune
from dasr_fast.kernels import launch

ASKED = launch.Problem("depthwise", "float16", "channels_last", (32, 48, 20, 30, 3))
DEFAULT = {"BLOCK_C": 32, "BLOCK_W": 16, "ROWS": 8, "num_warps": 4}
FACTS = {"device": "NVIDIA Test", "capability": [9, 0], "torch": "2", "triton": "3"}


def entry(milliseconds: float = 1.0, **problem: Any) -> tune.Entry:
    return tune.as_entry(replace(ASKED, **problem), DEFAULT, DEFAULT, 1.0, milliseconds)


class Surface:
    """A search over made-up times, and what it did."""

    def __init__(self, times: Any, limit: float = math.inf) -> None:
        self.times, self.limit = times, limit
        self.timed: list[tune.Options] = []
        self.prepared: list[tune.Options] = []
        self.search = tune.Search(self.milliseconds, self.prepare, lambda: len(self.timed) < self.limit)

    def milliseconds(self, options: tune.Options) -> float:
        self.timed.append(options)
        return self.times(options)

    def prepare(self, batch: Sequence[tune.Options]) -> None:
        self.prepared += batch


def bowl(**best: int) -> Any:
    """Times that grow with the factors by which options miss the best."""
    return lambda options: 1 + sum(abs(math.log2(options[name] / value)) for name, value in best.items())


def test_alternatives_of_a_size():
    assert tune.alternatives(ASKED, DEFAULT, DEFAULT, "BLOCK_W") == [{**DEFAULT, "BLOCK_W": n} for n in (8, 32, 64)]


def test_alternatives_of_a_choice():
    assert [o["num_warps"] for o in tune.alternatives(ASKED, DEFAULT, DEFAULT, "num_warps")] == [1, 2, 8]
    staged = {**DEFAULT, "num_stages": 1}
    assert [o["num_stages"] for o in tune.alternatives(ASKED, staged, staged, "num_stages")] == [2, 3, 4]
    assert tune.alternatives(ASKED, {"maxnreg": 64}, {"maxnreg": 64}, "maxnreg") == []


def test_a_tile_has_no_more_channels_than_the_features_need():
    assert [o["BLOCK_C"] for o in tune.alternatives(ASKED, DEFAULT, DEFAULT, "BLOCK_C")] == [16, 64]
    wide = {**DEFAULT, "BLOCK_C": 256}
    asked = replace(ASKED, sizes=(1, 4096, 8, 8, 3))
    assert [o["BLOCK_C"] for o in tune.alternatives(asked, wide, wide, "BLOCK_C")] == [128]


def test_sizes_are_bounded():
    assert [o["ROWS"] for o in tune.alternatives(ASKED, DEFAULT, DEFAULT, "ROWS")] == [4, 16]
    small = {**DEFAULT, "BLOCK_W": 1}
    assert [o["BLOCK_W"] for o in tune.alternatives(ASKED, small, small, "BLOCK_W")] == [2, 4]
    long = {"BLOCK_W": 2048, "num_warps": 4}
    assert [o["BLOCK_W"] for o in tune.alternatives(ASKED, long, long, "BLOCK_W")] == [1024, 4096, 8192]


def test_tiles_do_not_outgrow_the_registers():
    grown = {**DEFAULT, "BLOCK_W": 64}
    assert [o["BLOCK_W"] for o in tune.alternatives(ASKED, DEFAULT, grown, "BLOCK_W")] == [32]
    assert {"num_warps": 8, "BLOCK_W": 128}.items() <= tune.pairs(ASKED, DEFAULT, grown)[-2].items()


def test_pairs_keep_the_work_of_a_thread():
    others = tune.pairs(ASKED, DEFAULT, DEFAULT)
    assert [(o["BLOCK_C"], o["BLOCK_W"], o["num_warps"]) for o in others] == [
        (64, 8, 4),
        (16, 32, 4),
        (64, 16, 8),
        (16, 16, 2),
        (32, 32, 8),
        (32, 8, 2),
    ]


def test_search_finds_the_fastest_and_times_nothing_twice():
    best = {"BLOCK_C": 16, "BLOCK_W": 64, "ROWS": 2, "num_warps": 2}
    surface = Surface(bowl(**best))
    surface.search.descend(ASKED, [DEFAULT])
    assert surface.search.best == best
    assert len({tuple(options.items()) for options in surface.timed}) == len(surface.timed)
    assert surface.timed == [DEFAULT, *surface.prepared]


def test_search_moves_along_a_ridge():
    def times(options: tune.Options) -> float:
        # Four elements a thread are best, and then few channels.
        each = options["BLOCK_C"] * options["BLOCK_W"] / options["num_warps"] / 128
        return 10 * abs(math.log2(each)) + math.log2(options["BLOCK_C"]) + 2

    surface = Surface(times)
    surface.search.descend(ASKED, [DEFAULT])
    assert times(surface.search.best) == 2


def test_search_begins_at_the_best_of_what_is_known():
    far = {"BLOCK_C": 1, "BLOCK_W": 128, "ROWS": 1, "num_warps": 1}
    surface = Surface(bowl(**far))
    surface.search.descend(ASKED, [DEFAULT, far])
    assert surface.timed[:2] == [DEFAULT, far]
    assert surface.search.best == far


def test_search_avoids_what_does_not_work():
    surface = Surface(lambda options: math.inf if options["num_warps"] != 4 else bowl(BLOCK_W=32)(options))
    surface.search.descend(ASKED, [DEFAULT])
    assert surface.search.best == {**DEFAULT, "BLOCK_W": 32}


def test_search_stays_with_the_default_where_all_are_equal():
    surface = Surface(lambda options: 1.0)
    surface.search.descend(ASKED, [DEFAULT])
    assert surface.search.best == DEFAULT


def test_search_ends_when_time_does():
    surface = Surface(bowl(BLOCK_W=256), limit=2)
    surface.search.descend(ASKED, [DEFAULT, {**DEFAULT, "ROWS": 4}])
    assert len(surface.timed) == 2
    surface = Surface(bowl(BLOCK_W=256), limit=0)
    surface.search.descend(ASKED, [DEFAULT, {**DEFAULT, "ROWS": 4}])
    assert surface.timed == [DEFAULT]


def test_contenders_take_turns():
    times = iter([5.0, 1.0, 4.0, 9.0, 6.0, 2.0])
    order: list[tune.Options] = []

    def milliseconds(options: tune.Options) -> float:
        order.append(options)
        return next(times)

    other = {**DEFAULT, "ROWS": 4}
    assert tune.in_turn([DEFAULT, other], milliseconds) == [5.0, 2.0]
    assert order == [DEFAULT, other] * 3


@pytest.mark.parametrize(("milliseconds", "kept"), [(0.5, True), (0.98, True), (0.99, False), (math.inf, False)])
def test_only_what_is_clearly_faster_replaces_the_default(milliseconds: float, kept: bool):
    best = {**DEFAULT, "ROWS": 4}
    stored = tune.as_entry(ASKED, DEFAULT, best, 1.0, milliseconds)
    assert stored["options"] == (best if kept else DEFAULT)
    assert (stored["milliseconds"], stored["default_milliseconds"]) == (milliseconds if kept else 1.0, 1.0)


def test_seeds_are_those_of_the_nearest_sizes_and_the_same_type_first():
    def known(rows: int, **problem: Any) -> tune.Entry:
        return {**entry(**problem), "options": {**DEFAULT, "ROWS": rows}}

    entries = [
        known(1, dtype="float32", sizes=(32, 48, 20, 30, 3)),
        known(2, sizes=(1, 48, 500, 500, 3)),
        known(3, sizes=(16, 48, 20, 30, 3)),
        known(4, layout="contiguous"),
        known(5, kernel="depthwise_backward"),
        {**known(6, dtype="bfloat16"), "options": {"BLOCK_OF_OLD": 2}},
    ]
    assert [options["ROWS"] for options in tune.seeds(ASKED, DEFAULT, entries)[1:]] == [3, 1, 3]


def test_merging_replaces_the_same_problem_and_sorts():
    old = [entry(sizes=(2, 1)), entry(kernel="a"), entry(dtype="float32")]
    merged = tune.merge(old, [entry(0.5, kernel="a"), entry(sizes=(10, 1))])
    assert [(e["kernel"], e["dtype"], e["sizes"][0]) for e in merged] == [
        ("a", "float16", 32),
        ("depthwise", "float16", 2),
        ("depthwise", "float16", 10),
        ("depthwise", "float32", 32),
    ]
    assert merged[0]["milliseconds"] == 0.5


def test_the_file_is_what_kernels_look_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "test.json"
    tune.write(path, FACTS, [entry(), entry(dtype="float32")])
    monkeypatch.setattr(launch, "CONFIGURATIONS", tmp_path)
    launch.tuned.cache_clear()
    try:
        (problem, options), _ = launch.tuned("NVIDIA Test")
    finally:
        launch.tuned.cache_clear()
    assert problem == ASKED
    assert dict(options) == DEFAULT


def test_the_file_has_a_line_for_each_entry(tmp_path: Path):
    path = tmp_path / "test.json"
    entries = [entry(), entry(dtype="float32")]
    tune.write(path, FACTS, entries)
    assert json.loads(path.read_text()) == {**FACTS, "tuned": entries}
    assert [json.loads(line.rstrip(",")) for line in path.read_text().splitlines()[6:8]] == entries
    assert tune.read(path, "NVIDIA Test") == entries
    tune.write(path, FACTS, [])
    assert tune.read(path, "NVIDIA Test") == []


def test_another_devices_file_is_left_alone(tmp_path: Path):
    assert tune.read(tmp_path / "test.json", "NVIDIA Test") == []
    tune.write(tmp_path / "test.json", FACTS, [])
    with pytest.raises(click.UsageError, match="holds options for NVIDIA Test, and this is another"):
        tune.read(tmp_path / "test.json", "another")


def test_a_resized_case_is_consistent():
    case = next(case for case in SPECIFICATIONS["da_conv"].cases if case.label == "training")
    other = tune.resized(case, 2, 5, 7)
    assert other.tensors == {
        "x": (2, 64, 5, 7),
        "kernel": (2, 64, 3, 3),
        "weight": (64, 64),
        "bias": (64,),
        "gate": (2, 64),
    }
    assert other.options == case.options


def test_features_are_tuned_in_every_layout_and_images_at_every_scale():
    features = list(tune.settings(["channel_modulation"], tune.DTYPES))
    assert len({(s.case.tensors["x"], s.dtype, s.layout) for s in features}) == 4 * 3 * 2
    images = list(tune.settings(["blur_downsample"], tune.DTYPES))
    assert {(s.case.options["scale"], s.dtype) for s in images} == {
        (n, dtype) for n in (2, 3, 4) for dtype in ("float32", "uint8")
    }
    assert [s.dtype for s in tune.settings(["blur_downsample"], ["float16", "uint8"])] == ["uint8"] * 3


def planned(op: str, case: Case, dtype: str = "float32", layout: str = "contiguous") -> list[tune.Planned]:
    return list(tune.plan([tune.Setting(op, case, dtype, layout)], pytest.fail))


@pytest.mark.parametrize("layout", tune.LAYOUTS)
@pytest.mark.parametrize("dtype", tune.FEATURE_DTYPES)
def test_problems_of_forward_and_backward_are_found(dtype: str, layout: str):
    found = planned("dynamic_depthwise_conv", SPECIFICATIONS["dynamic_depthwise_conv"].cases[0], dtype, layout)
    assert [one.function for one in found] == ["dynamic_depthwise_conv", "dynamic_depthwise_conv_backward"]
    assert len({one.asked.kernel for one in found}) == 2
    for one in found:
        assert (one.asked.dtype, one.asked.layout) == (dtype, layout)
        assert tune.allowed(one.asked, one.default, one.default)


def test_a_problem_is_planned_once():
    setting = tune.Setting("channel_modulation", SPECIFICATIONS["channel_modulation"].cases[0], "float32", "contiguous")
    assert len(list(tune.plan([setting, setting], pytest.fail))) == 2


def test_what_kernels_cannot_do_is_said():
    setting = tune.Setting("channel_modulation", SPECIFICATIONS["channel_modulation"].cases[0], "float64", "contiguous")
    said: list[str] = []
    assert list(tune.plan([setting], said.append)) == []
    assert said == ["channel_modulation, small, float64, contiguous: it computes in float32, and x is float64"]


def test_arguments_take_the_type_and_layout_of_the_setting():
    case = Case("", {})
    arguments = {"hr": torch.rand(2, 3, 4, 5).double(), "kernel": torch.rand(2, 3, 3).double(), "scale": 2}
    setting = tune.Setting("blur_downsample", case, "uint8", "channels_last")
    hr, kernel, scale = (tune.as_set(value, setting, arguments) for value in arguments.values())
    assert (hr.dtype, kernel.dtype, scale) == (torch.uint8, torch.float32, 2)
    assert hr.is_contiguous(memory_format=torch.channels_last)
    assert (hr.requires_grad, kernel.requires_grad) == (False, True)


def test_a_changed_result_is_noticed():
    expected = torch.randn(50, 40)
    tune.check([expected + 1e-5], [expected])
    for wrong in (expected + 0.01, expected.where(expected != expected.max(), 0), expected * torch.nan):
        with pytest.raises(AssertionError):
            tune.check([expected, wrong], [expected, expected])
    tune.check([expected[:0]], [expected[:0]])


def test_the_stopwatch_counts_milliseconds():
    def run() -> None:
        time.sleep(0.02)

    assert tune.stopwatch(run, "cpu")(run) >= 20


def test_without_time_nothing_is_tuned(tmp_path: Path):
    said: list[str] = []
    case = SPECIFICATIONS["channel_modulation"].cases[0]
    tune.tune(planned("channel_modulation", case), "cpu", tmp_path / "test.json", FACTS, 0, said.append)
    assert said == ["No time left for 2 of 2 problems, from modulation, float32, contiguous, 2x8x1x63 on."]
    assert not (tmp_path / "test.json").exists()


def test_a_dry_run_lists_what_would_be_tried():
    result = CliRunner().invoke(tune.main, ["--dry-run", "--op", "channel_modulation", "--dtype", "float16"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == "16 problems" == f"{len(lines) - 1} problems"
    assert all("float16" in line and "BLOCK_W" in line for line in lines[:-1])


def test_the_file_is_named_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Test 1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(tune, "CONFIGURATIONS", tmp_path / "configs")
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tune, "tune", lambda *arguments: calls.append(arguments))
    result = CliRunner().invoke(tune.main, ["--op", "channel_modulation", "--budget", "9"])
    assert result.exit_code == 0, result.output
    ((found, device, path, facts, budget, *_),) = calls
    assert (len(found), device, path, budget) == (48, "cuda", tmp_path / "configs" / "test_1.json", 9)
    assert (facts["device"], facts["capability"]) == ("NVIDIA Test 1", [9, 0])
    assert facts.keys() == FACTS.keys()


@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled")
def test_kernels_are_compiled_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    absent = SimpleNamespace(
        get_current_target=lambda: GPUTarget("cuda", 90, 32),
        get_current_device=lambda: "absent",
        get_current_stream=lambda device: 0,
    )
    monkeypatch.setattr(driver, "_active", absent)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    case = SPECIFICATIONS["channel_modulation"].cases[0]
    one = planned("channel_modulation", case)[0]
    module = tune.implementation("channel_modulation")
    tensors = {name: torch.empty(shape, device="meta") for name, shape in case.tensors.items() if shape}
    run = tune.calls(one.setting, module, tensors, pytest.fail)[one.function]
    impossible = {**one.default, "BLOCK_W": 3}
    tune.compile_ahead(run, one.asked.kernel, [one.default, {**one.default, "num_warps": 2}, impossible])
    assert len(list(tmp_path.rglob("*.cubin"))) == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so():
    result = CliRunner().invoke(tune.main, [])
    assert result.exit_code == 1
    assert result.output == "Error: No NVIDIA GPU was found; --dry-run lists what would be tried on one.\n"


needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="set TRITON_INTERPRET=1 to run kernels on the CPU")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alternative for each option at most, no pairs, and equal times: interpretation is slow."""
    every = tune.alternatives
    monkeypatch.setattr(tune, "alternatives", lambda *arguments: every(*arguments)[:1])
    monkeypatch.setattr(tune, "pairs", lambda *_: [])
    monkeypatch.setattr(tune, "stopwatch", lambda run, device: lambda other: 2.0)


def one_pixel(op: str) -> Case:
    return next(case for case in SPECIFICATIONS[op].cases if case.label == "one pixel")


def tune_here(path: Path, found: Iterable[tune.Planned]) -> tuple[dict[str, Any], list[str]]:
    """What the file holds after tuning on the CPU, and what was said."""
    said: list[str] = []
    tune.tune(list(found), "cpu", path, FACTS, 600, said.append)
    return json.loads(path.read_text()), said


@needs_interpreter
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("op", ["dynamic_depthwise_conv", "channel_modulation"])
def test_interpreted_kernels_are_tuned(op: str, tmp_path: Path):
    found = planned(op, one_pixel(op))
    content, said = tune_here(tmp_path / "test.json", found)
    assert {name: content[name] for name in FACTS} == FACTS
    for one, stored, text in zip(found, content["tuned"], said, strict=True):
        assert stored == tune.as_entry(one.asked, one.default, one.default, 2.0, 2.0)
        assert not text.endswith(" 1 tried")
    again, _ = tune_here(tmp_path / "test.json", found[:1])
    assert again == content


@needs_interpreter
@pytest.mark.usefixtures("few")
def test_options_that_change_the_result_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = planned("channel_modulation", one_pixel("channel_modulation"))[0]
    module = tune.implementation(one.setting.op)
    right = module.channel_modulation

    def wrong_unless_default(*arguments: Any) -> torch.Tensor:
        return right(*arguments) * (1 if launch._forced.get(one.asked.kernel, one.default) == one.default else 2)

    monkeypatch.setattr(module, "channel_modulation", wrong_unless_default)
    content, said = tune_here(tmp_path / "test.json", [one])
    assert content["tuned"][0]["options"] == one.default
    assert any("dropped: " in text for text in said)
