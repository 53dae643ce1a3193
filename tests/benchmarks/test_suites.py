"""The works themselves: contenders of small ones are right, and what is wrong is found."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from benchmarks import machine, memory, network, ops, suites, training
from benchmarks import run as command
from benchmarks.network import Case
from benchmarks.released_network import Blind
from benchmarks.results import Result, read
from benchmarks.timing import Effort, compare
from benchmarks.work import BASELINE, Settings, Work
from dasr_fast import precision
from dasr_fast.ops.backends import IMPLEMENTATIONS

QUICK = Settings(quick=True)
ONCE = Effort(seconds=0, least=1, most=1, round_seconds=0)


def compared(work: Work) -> dict[str, Result]:
    return {result.contender: result for result in compare(work, "cpu", ONCE)}


def test_every_contender_of_the_ops_is_right():
    for work in ops.works(QUICK):
        found = compared(work)
        assert BASELINE in found
        for name, result in found.items():
            assert result.seconds or "kornia" in result.failure, f"{work.label}, {name}: {result}"


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


def test_a_wrong_backend_is_shown_as_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    reference = IMPLEMENTATIONS["channel_modulation", "reference"]
    right = reference.channel_modulation
    monkeypatch.setattr(
        reference,
        "channel_modulation",
        lambda x, *others: right(x, *others) * (1 if x.dtype == torch.float64 else 1.0001),
    )
    monkeypatch.setitem(suites.SUITES, "ops", OnlyChannelModulation)
    result = CliRunner().invoke(command.main, ["--quick", "--suite", "ops", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    wrong = [line for line in result.output.splitlines() if "WRONG" in line and "│" in line]
    assert wrong
    assert all("dasr-fast, reference" in line for line in wrong if "dasr-fast," in line)
    found = read(tmp_path / "out" / "results.json").results
    reference = [r for r in found if r.contender == "dasr-fast, reference" and "backward" not in r.work]
    assert all(r.wrong and not r.seconds and r.error == pytest.approx(1e-4, rel=0.1) for r in reference)
    assert all(r.seconds for r in found if r.contender == BASELINE)


class OnlyChannelModulation:
    """The suite `ops` with one op."""

    left_out = staticmethod(ops.left_out)

    @staticmethod
    def works(settings: Settings):
        return (work for work in ops.works(settings) if work.label.startswith("channel_modulation"))


def test_without_a_reader_of_images_there_is_no_picture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "pyvips", None)
    monkeypatch.setattr(suites, "works", lambda *_: [])
    result = CliRunner().invoke(command.main, ["--quick", "--suite", "ops", "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "No picture: photographs need the Python package pyvips" in result.output


def test_networks_are_right():
    work = network.network_work("network", Case(17, 12, 2, 1), QUICK, network.contenders(2, QUICK, compiles=False))
    for name, result in compared(work).items():
        assert result.seconds, f"{name}: {result}"
        assert result.error < 3e-6


@pytest.mark.parametrize("emulated", [True, False])
def test_an_emulated_bfloat16_is_left_out(monkeypatch: pytest.MonkeyPatch, emulated: bool):
    monkeypatch.setattr(precision, "emulates_bfloat16", lambda device: emulated)
    restorers = [name for name in network.contenders(4, Settings(), compiles=False) if "bf16" in name]
    everybody = ["released, bf16", "released, channels-last bf16", "Engine bf16"]
    assert restorers == (everybody[2:] if emulated else everybody)
    trainers = [name for name in training.contenders("everything", Settings()) if "bf16" in name]
    assert trainers == ([] if emulated else ["released, bf16", "dasr-fast, bf16"])
    said = [reason for suite in (network, training) for reason in suite.left_out(Settings()) if "emulates" in reason]
    assert len(said) == 2 * emulated


def test_there_is_no_ceiling_in_an_emulated_type(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(precision, "emulates_bfloat16", lambda device: True)
    assert list(machine.ceilings("cpu", quick=True)) == ["float32", "bytes"]


def test_results_of_a_cpu_are_kept_by_its_instructions():
    facts = {**machine.facts("cpu"), "device": "AMD EPYC", "instructions": "AVX2", "threads": 2}
    assert machine.file_name(facts) == "amd-epyc-avx2-2-threads"
    assert machine.title(facts).startswith("AMD EPYC with AVX2, 2 threads, torch ")
    assert machine.file_name({**facts, "device": "NVIDIA H200", "kind": "cuda"}) == "nvidia-h200"


def test_training_steps_are_right_and_a_wrong_gradient_is_not():
    for stage in training.STAGES:
        work = training.step_work("training", stage, 2, QUICK)
        contenders = {name: work.contenders[name] for name in (BASELINE, "accelerate(released)", "dasr-fast")}

        def make_wrong(stage=stage):
            step = training.our_step(stage, QUICK, bf16=False)

            def call(lr, hr):
                losses, model = step(lr, hr)
                model.E.encoder_q.E[0].weight.grad *= 1.2
                return losses, model

            return call

        contenders["wrong"] = replace(contenders["dasr-fast"], make=make_wrong)
        found = compared(replace(work, contenders=contenders))
        assert [name for name, result in found.items() if result.wrong] == ["wrong"], found


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
    encoder = training.operations("encoder", 32, 48)
    assert network.operations(Case(320, 180, 4, 1)) == pytest.approx(353e9 + 17e9, rel=0.01)
    assert training.operations("everything", 32, 48) - encoder == pytest.approx(1356e9, rel=0.01)


def test_memory_is_measured_in_another_process():
    work = next(memory.works(QUICK))
    (result,) = memory.measure(replace(work, contenders={BASELINE: work.contenders[BASELINE]}), QUICK)
    assert not result.failure
    assert result.peak > 1e7
    assert result.process > result.peak


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


def test_filters_choose_cases():
    settings = Settings(sizes=((64, 48),), scales=(3,), batches=(2, 5))
    assert network.chosen(settings) == (Case(64, 48, 3, 2), Case(64, 48, 3, 5))
    assert training.batches(settings) == (2, 5)
    assert len(network.chosen(Settings(everything=True))) == 18
    assert network.chosen(Settings()) == network.ON_A_CPU
