import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from tuning_helpers import DEFAULT, FACTS, planned

from benchmarks.tuning import entries, problems, search, tuner
from dasr_fast.kernels import options as launch_options
from dasr_fast.ops.backends import INTERPRETED
from tests.specification import SPECIFICATIONS, Case

needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="set TRITON_INTERPRET=1 to run kernels on the CPU")


def test_contenders_take_turns():
    times = iter([5.0, 1.0, 4.0, 9.0, 6.0, 2.0])
    order: list[launch_options.Options] = []

    def milliseconds(options: launch_options.Options) -> float:
        order.append(options)
        return next(times)

    other = {**DEFAULT, "ROWS": 4}
    assert tuner.in_turn([DEFAULT, other], milliseconds) == [5.0, 2.0]
    assert order == [DEFAULT, other] * 3


def test_a_changed_result_is_noticed():
    expected = torch.randn(50, 40)
    tuner.check([expected + 1e-5], [expected])
    for wrong in (expected + 0.01, expected.where(expected != expected.max(), 0), expected * torch.nan):
        with pytest.raises(AssertionError):
            tuner.check([expected, wrong], [expected, expected])
    tuner.check([expected[:0]], [expected[:0]])


def test_the_stopwatch_counts_milliseconds():
    def run() -> None:
        time.sleep(0.02)

    assert tuner.stopwatch(run, "cpu")(run) >= 20


def test_without_time_nothing_is_tuned(tmp_path: Path):
    said: list[str] = []
    case = SPECIFICATIONS["channel_modulation"].cases[0]
    tuner.tune(planned("channel_modulation", case), "cpu", tmp_path / "test.json", FACTS, 0, said.append)
    assert said == ["No time left for 2 of 2 problems, from modulation, float32, contiguous, 2x8x1x63 on."]
    assert not (tmp_path / "test.json").exists()


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
    module = problems.implementation("channel_modulation")
    tensors = {name: torch.empty(shape, device="meta") for name, shape in case.tensors.items() if shape}
    run = problems.calls(one.setting, module, tensors, pytest.fail)[one.function]
    impossible = {**one.default, "BLOCK_W": 3}
    tuner.compile_ahead(run, one.asked.kernel, [one.default, {**one.default, "num_warps": 2}, impossible])
    assert len(list(tmp_path.rglob("*.cubin"))) == 2


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One alternative for each option at most, no pairs, and equal times: interpretation is slow."""
    every = search.alternatives
    monkeypatch.setattr(search, "alternatives", lambda *arguments: every(*arguments)[:1])
    monkeypatch.setattr(search, "pairs", lambda *_: [])
    monkeypatch.setattr(tuner, "stopwatch", lambda run, device: lambda other: 2.0)


def one_pixel(op: str) -> Case:
    return next(case for case in SPECIFICATIONS[op].cases if case.label == "one pixel")


def tune_here(path: Path, found: Iterable[problems.Planned]) -> tuple[dict[str, Any], list[str]]:
    """What the file holds after tuning on the CPU, and what was said."""
    said: list[str] = []
    tuner.tune(list(found), "cpu", path, FACTS, 600, said.append)
    return json.loads(path.read_text()), said


@needs_interpreter
@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("op", ["dynamic_depthwise_conv", "channel_modulation"])
def test_interpreted_kernels_are_tuned(op: str, tmp_path: Path):
    found = planned(op, one_pixel(op))
    content, said = tune_here(tmp_path / "test.json", found)
    assert {name: content[name] for name in FACTS} == FACTS
    for one, stored, text in zip(found, content["tuned"], said, strict=True):
        assert stored == entries.as_entry(one.asked, one.default, one.default, 2.0, 2.0)
        assert not text.endswith(" 1 tried")
    again, _ = tune_here(tmp_path / "test.json", found[:1])
    assert again == content


@needs_interpreter
@pytest.mark.usefixtures("few")
def test_options_that_change_the_result_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = planned("channel_modulation", one_pixel("channel_modulation"))[0]
    module = problems.implementation(one.setting.op)
    right = module.channel_modulation

    def wrong_unless_default(*arguments: Any) -> torch.Tensor:
        return right(*arguments) * (
            1 if launch_options._forced.get(one.asked.kernel, one.default) == one.default else 2
        )

    monkeypatch.setattr(module, "channel_modulation", wrong_unless_default)
    content, said = tune_here(tmp_path / "test.json", [one])
    assert content["tuned"][0]["options"] == one.default
    assert any("dropped: " in text for text in said)
