"""The works themselves: contenders of small ones are right, and what is wrong is found."""

import importlib.util
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from benchmarks import run as command
from benchmarks import suites
from benchmarks.harness import machine
from benchmarks.harness.contender import Contends
from benchmarks.harness.results import RESULTS, read
from benchmarks.harness.work import BASELINE, Settings, Work
from benchmarks.suites import memory, network, ops, runtimes, training
from benchmarks.suites.network import Case
from dasr_fast import precision
from tests.released.network import Blind

QUICK = Settings(quick=True)
RUNTIMES = [name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name)]


def errors(work: Work, folder: Path) -> dict[str, float]:
    """Over what is allowed, of each contender that isn't absent."""
    Contends(work, folder, BASELINE, "cpu").draw()
    found = {}
    for name, contender in work.contenders.items():
        with suppress(ModuleNotFoundError):
            error = Contends(work, folder, name, "cpu").build()
            found[name] = 0.0 if contender.other else error / work.tolerance(contender.dtype)
    return found


def test_every_contender_of_the_ops_is_right(tmp_path: Path):
    for work in ops.works(QUICK):
        found = errors(work, tmp_path)
        assert BASELINE in found
        assert max(found.values()) <= 1, f"{work.label}: {found}"


@pytest.mark.parametrize("op", ["conv3x3", "da_half_block"])
def test_the_baseline_is_contiguous_as_the_released_code_is(op: str):
    for work in (work for work in ops.works(QUICK) if work.label.startswith(op)):
        inputs = work.inputs()
        features = [x for x in inputs if isinstance(x, torch.Tensor) and x.dim() == 4 and x.shape[-1] > 7]
        assert len(features) >= 1 + ("backward" in work.label)
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in features)
        assert all(x.is_contiguous() for x in work.contenders[BASELINE].arrange(inputs) if x is not None)
        for name in ("released, channels-last", "dasr-fast"):
            assert work.contenders[name].arrange(inputs) is inputs


def test_forward_and_backward_are_counted_apart():
    moved = {work.label: work.bytes_moved for work in ops.works(QUICK)}
    features, gates = 4 * 64 * 48 * 48, 4 * 64
    forward, backward = 3 * features + gates, 3 * features + 2 * gates
    assert moved["channel_modulation 4x64x48x48"] == 4 * forward
    assert moved["channel_modulation 4x64x48x48, forward + backward"] == 4 * (forward + backward)


def test_networks_are_right(tmp_path: Path):
    everybody = network.contenders(2, Settings(), compiles=False)
    some = {name: everybody[name] for name in (BASELINE, "accelerate(released)", "dasr-fast", "Engine fp32")}
    found = errors(network.network_work("network", Case(17, 12, 2, 1), QUICK, some), tmp_path)
    assert list(found) == list(some)
    assert max(found.values()) < 0.3


@pytest.mark.skipif(not RUNTIMES, reason="neither is installed")
def test_other_runtimes_restore_as_the_network_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    model = nn.Upsample(scale_factor=2, mode="nearest").eval()

    def export(network: nn.Module, path: Path) -> None:
        named = {"input_names": ["lr"], "output_names": ["sr"], "dynamic_axes": {"lr": [0, 2, 3]}}
        torch.onnx.export(network, (torch.zeros(1, 3, 4, 5),), path, **named, dynamo=False)

    monkeypatch.setattr(runtimes, "export_onnx", export)
    lr = network.smooth_images(2, 9, 7)
    for name, contender in runtimes.contenders(2, Settings(quick=True, folder=tmp_path), lambda: model).items():
        if name.lower() in RUNTIMES:
            restore = contender.make()
            assert all(torch.equal(restore(image), model(image)) for image in (lr, lr + 1)), name
    assert [path.name for path in tmp_path.iterdir()] == ["x2.onnx"]


@pytest.mark.parametrize("emulated", [True, False])
def test_an_emulated_bfloat16_is_left_out(monkeypatch: pytest.MonkeyPatch, emulated: bool):
    monkeypatch.setattr(precision, "emulates_bfloat16", lambda device: emulated)
    monkeypatch.setattr(machine, "_fastest", lambda call, rounds: 1.0)
    restorers = [name for name in network.contenders(4, Settings(), compiles=False) if "bf16" in name]
    slow = ["released, bf16", "released, channels-last bf16"]
    assert restorers == [*([] if emulated else slow), "OpenVINO bf16", "Engine bf16"]
    trainers = [name for name in training.contenders("everything", Settings()) if "bf16" in name]
    assert trainers == ([] if emulated else [*slow, "dasr-fast, bf16"])
    assert sum("emulates" in reason for reason in suites.left_out(Settings())) == emulated
    assert list(machine.ceilings("cpu", quick=True)) == ["float32", *([] if emulated else ["bfloat16"]), "bytes"]


def test_results_of_a_cpu_are_kept_by_its_instructions():
    facts = {**machine.facts("cpu"), "device": "AMD EPYC", "instructions": "AVX2", "threads": 2}
    assert machine.file_name(facts) == "amd-epyc-avx2-2-threads"
    assert machine.title(facts).startswith("AMD EPYC with AVX2, 2 threads, torch ")
    assert machine.file_name({**facts, "device": "NVIDIA H200", "kind": "cuda"}) == "nvidia-h200"


@pytest.mark.parametrize(
    "stage", [pytest.param(s, marks=[pytest.mark.slow] * (s != "encoder")) for s in training.STAGES]
)
def test_training_steps_are_right_and_a_wrong_gradient_is_not(stage: Any, tmp_path: Path):
    work = training.step_work("training", stage, 2, Settings())
    some = {name: work.contenders[name] for name in (BASELINE, "accelerate(released)", "dasr-fast")}

    def make_wrong() -> Any:
        step = training.our_step(stage, QUICK, bf16=False)

        def call(lr: torch.Tensor, hr: torch.Tensor) -> Any:
            losses, model = step(lr, hr)
            model.E.encoder_q.E[0].weight.grad *= 1.2
            return losses, model

        return call

    some["wrong"] = replace(some["dasr-fast"], make=make_wrong)
    found = errors(replace(work, contenders=some), tmp_path)
    assert [name for name, error in found.items() if error > 1] == ["wrong"], found


@pytest.mark.parametrize(("scale", "batch"), [(2, 1), (3, 2)])
def test_corners_are_those_of_the_whole(monkeypatch: pytest.MonkeyPatch, scale: int, batch: int):
    monkeypatch.setattr(network, "INNER", 4)
    monkeypatch.setattr(network, "REACH", 12)  # One block: 1 + 4 + 1 + 1 + 2.
    monkeypatch.setattr(network, "WHOLE", 0)
    model = Blind(scale, 1, 1).double().eval().requires_grad_(False)
    case = Case(31, 29, scale, batch)
    lr = network.smooth_images(batch, case.height, case.width)
    whole = model(lr.double())
    for place in network.places(case):
        torch.testing.assert_close(network.expected_at(place, lr, model), whole[place])
        assert whole[place].shape[2:] == (4 * scale, 4 * scale)


def test_operations_are_those_of_the_paper_s_network():
    encoder = training.operations("encoder", 32)
    assert network.operations(Case(320, 180, 4, 1)) == pytest.approx(353e9 + 17e9, rel=0.01)
    assert training.operations("everything", 32) - encoder == pytest.approx(1356e9, rel=0.01)


def test_filters_choose_works_and_contenders():
    settings = Settings(sizes=((64, 48),), scales=(3,), batches=(2, 5), without=("bf16", "compiled"))
    assert network.chosen(settings) == (Case(64, 48, 3, 2), Case(64, 48, 3, 5))
    assert training.batches(settings) == (2, 5)
    assert len(network.chosen(Settings(everything=True))) == 18
    assert network.chosen(Settings()) == network.ON_A_CPU
    for work in suites.works(("network", "training"), settings):
        assert not [name for name in work.contenders if "bf16" in name or "compiled" in name]
        assert BASELINE in work.contenders
    assert all(not work.timed for work in memory.works(QUICK))


@pytest.mark.slow
def test_a_quick_run_shows_a_picture_and_a_short_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(suites, "QUICK", ("degradation",))
    result = CliRunner().invoke(command.main, ["--quick", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert "picture.png" in lines[0]
    assert "dB" in "".join(lines[:4])
    table = [line for line in lines if line.startswith(" degradation of 8x2x3x192x192")]
    assert len(table) == 1
    assert max(map(len, lines)) <= max(80, len(str(tmp_path)) + 60)
    pairs, jpeg = read(tmp_path / "out" / "results.json").works().values()
    assert all(result.seconds for result in (*pairs, *jpeg))
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"picture.png", "table.md", "speedup-light.svg"}


def test_without_a_reader_of_images_only_the_picture_is_lost():
    code = "import sys; sys.modules['pyvips'] = None\nfrom pathlib import Path\nfrom benchmarks import suites\n"
    code += "from benchmarks.harness.picture import write_picture\nprint(write_picture(Path(), '', Path()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=RESULTS.parents[1], capture_output=True, text=True)
    assert done.stdout.startswith("No picture: photographs need the Python package pyvips: "), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--reference", "nowhere"], "nowhere is no checkout of the released code"),
        (["--image", "nowhere.png"], "nowhere.png"),
        (["--size", "320"], "320 is no width and height"),
    ],
)
def test_mistakes_get_one_sentence(arguments: list[str], message: str):
    result = CliRunner().invoke(command.main, ["--quick", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
