"""Runs: whole, stopped, killed and resumed, and shared by two processes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from training import two_processes
from training.small_run import ENVIRONMENT, TORCHRUN, TRAIN, Settings, as_options, small_settings

from dasr_fast import cli
from dasr_fast.models import BlindSR, CheckpointError, read_weights
from dasr_fast.models.bounds import departure
from dasr_fast.models.moco import Exchange, contrast
from dasr_fast.processes import Processes
from dasr_fast.training import results
from dasr_fast.training.configuration import ConfigurationError, configure, resumed, store
from dasr_fast.training.log import TrainingError, read_log
from dasr_fast.training.patches import Patches
from dasr_fast.training.representation import LEARNERS, DegradationTarget, Learned, MoCoLearner
from dasr_fast.training.trainer import Trainer
from dasr_fast.training.validation import Row

CPU = Processes(torch.device("cpu"))


def run(settings: Settings, folder: Path, stop_after: int | None = None, **changed: Any) -> Trainer:
    """A run in `folder`, begun, or resumed with what `changed`, until the end or until that many steps were taken."""
    stored = folder / "configuration.toml"
    resuming = stored.is_file()
    folder.mkdir(exist_ok=True)
    trainer = Trainer(resumed(stored, changed) if resuming else configure(None, settings), folder, CPU)
    if resuming:
        trainer.resume()
    finished = trainer.train(lambda: trainer.taken == stop_after)
    assert finished == (stop_after is None)
    return trainer


def losses(folder: Path) -> list[tuple[int, Any, Any, Any]]:
    entries = [entry for entry in read_log(folder / "log.jsonl") if entry["kind"] == "training"]
    return [(entry["step"], entry["stage"], entry["loss"], entry.get("l1")) for entry in entries]


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "whole"
    run(small_settings(photos), folder)
    return folder


def same_weights(a: Path, b: Path) -> bool:
    one, other = (read_weights(folder / "weights.safetensors") for folder in (a, b))
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def test_both_stages(whole: Path):
    assert [(step, stage) for step, stage, _, _ in losses(whole)] == [
        (step, "encoder" if step <= 3 else "everything") for step in range(1, 8)
    ]
    assert [l1 is None for *_, l1 in losses(whole)] == [True] * 3 + [False] * 4
    assert sorted(path.name for path in (whole / "checkpoints").iterdir()) == ["step-00000006.pt", "step-00000007.pt"]
    model = BlindSR.from_pretrained(whole / "weights.safetensors")
    assert model.scale == 2
    assert torch.isfinite(model(torch.rand(1, 3, 16, 16) * 255)).all()


@pytest.mark.parametrize("representation", LEARNERS)
def test_a_resumed_run_is_the_uninterrupted_one(whole: Path, settings: Settings, tmp_path: Path, representation: str):
    once, parts, validation = (tmp_path / name for name in ("once", "parts", "validation"))
    validation.mkdir()
    if representation == "fixed":
        settings["initial_weights"] = str(whole / "weights.safetensors")
    shutil.copy(settings["data"] / "0.png", validation)
    settings |= {"representation": representation, "ema": 0.9, "validation": validation, "validate_every": 3}
    trainer = run(settings, once)
    for stop_after in (2, min(5, trainer.schedule.total - 1)):
        run(settings, parts, stop_after)
    later = run(settings, parts)
    assert losses(parts) == losses(once)
    entries = [read_log(folder / "log.jsonl") for folder in (once, parts)]
    validations = [[entry for entry in log if entry["kind"] == "validation"] for log in entries]
    assert validations[0] == validations[1] != []
    states = [torch.load(t.checkpoint, weights_only=True) for t in (trainer, later)]
    for part in ("sr", "learner", "average"):
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())
    assert (once / "weights.safetensors").exists() == (representation != "oracle")
    if representation == "fixed":
        encoders = [read_weights(folder / "weights.safetensors") for folder in (whole, once)]
        assert all(torch.equal(value, encoders[1][key]) for key, value in encoders[0].items() if ".encoder_q." in key)


def test_finished_weights_know_their_limits(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(results, "MOST", 96)  # All.
    settings |= {"noise": 3.0, "representation": "predictor"}
    run(settings, tmp_path / "run", stop_after=5)
    path = tmp_path / "run" / "weights.safetensors"
    unfinished = BlindSR.from_pretrained(path)
    assert (unfinished.G.bounds, unfinished.noise) == (None, 3.0)
    trainer = run(settings, tmp_path / "run")
    model = BlindSR.from_pretrained(path)
    assert model.G.bounds is not None
    assert model.noise == 3.0
    patches = Patches(trainer.images, size=32, batch=32, seed=1)(0)
    lr, _ = trainer.step.degradation(patches.float(), generator=torch.Generator().manual_seed(0))
    inside = departure(model.encode(lr[:, 0]), model.G.bounds) < 1
    assert inside.float().mean() > 0.9  # Other pieces than those measured, of which a few may lie beyond.
    checker = 255.0 * (torch.arange(16)[:, None] + torch.arange(16)).remainder(2).expand(1, 3, 16, 16)
    assert departure(model.encode(checker), model.G.bounds).item() > 1
    again = run(settings, tmp_path / "run")  # Nothing is left but to write it anew.
    assert torch.equal(again.network.G.bounds, trainer.network.G.bounds)


@pytest.mark.parametrize(("before", "after", "stop_after"), [(40, 7, 5), (6, 9, 4)])
def test_a_stable_run_of_another_length(settings: Settings, tmp_path: Path, before: int, after: int, stop_after: int):
    settings |= {"schedule": "stable", "warm_up_steps": 2, "decay_steps": 2, "ema": 0.9}
    asked = run({**settings, "steps": after}, tmp_path / "asked")
    run({**settings, "steps": before}, tmp_path / "changed", stop_after)
    changed = run(settings, tmp_path / "changed", steps=after)
    assert losses(tmp_path / "changed") == losses(tmp_path / "asked")
    assert same_weights(tmp_path / "changed", tmp_path / "asked")
    states = [torch.load(trainer.checkpoint, weights_only=True)["optimizer"]["state"] for trainer in (asked, changed)]
    for index, of_parameter in states[0].items():
        assert all(torch.equal(x, states[1][index][name]) for name, x in of_parameter.items())


def test_a_schedule_changes_only_before_its_decay_which_is_carried_out(settings: Settings, tmp_path: Path):
    def resume(folder: str, steps: int) -> None:
        trainer = Trainer(resumed(tmp_path / folder / "configuration.toml", {"steps": steps}), tmp_path / folder, CPU)
        trainer.resume()
        assert trainer.taken == 6

    settings |= {"schedule": "stable"}
    run(settings | {"decay_steps": 2, "steps": 20}, tmp_path / "before", stop_after=6)
    resume("before", 5)
    resume("before", 40)
    message = "begins; with these it would have begun after step 5, and the run is at step 6"
    with pytest.raises(ConfigurationError, match=message):
        resume("before", 4)
    run(settings | {"decay_steps": 3}, tmp_path / "within", stop_after=6)
    message = "can change only before the decay begins; it began after step 4, and the run is at step 6"
    with pytest.raises(ConfigurationError, match=message):
        resume("within", 10)
    run(settings, tmp_path / "within")


def test_an_entry_of_the_log_is_the_mean_since_the_last_also_over_a_resume(settings: Settings, tmp_path: Path):
    run(settings, tmp_path / "each")
    each = [loss for *_, loss, _ in losses(tmp_path / "each")]
    settings["log_every"] = 2
    run(settings, tmp_path / "means", stop_after=5)
    run(settings, tmp_path / "means")
    means = losses(tmp_path / "means")
    assert [step for step, *_ in means] == [2, 3, 4, 6, 7]  # The first stage ends with 3.
    expected = [(each[0] + each[1]) / 2, each[2], each[3], (each[4] + each[5]) / 2, each[6]]
    assert [loss for *_, loss, _ in means] == pytest.approx(expected, rel=1e-12)


def test_the_moving_average_is_the_result(settings: Settings, tmp_path: Path):
    trainer = run({**settings, "ema": 0.9, "pt": True}, tmp_path / "run")
    state = torch.load(trainer.checkpoint, weights_only=True)
    assert trainer.average is not None
    average = trainer.average.values()
    for name in ("weights.safetensors", "weights.pt"):
        weights = read_weights(tmp_path / "run" / name)
        assert all(torch.equal(value, average[key]) for key, value in weights.items())
    assert not torch.equal(weights["G.head.0.weight"], state["sr"]["head.0.weight"])


def test_a_run_from_weights(settings: Settings, whole: Path, tmp_path: Path):
    weights = tmp_path / "copy.safetensors"
    shutil.copy(whole / "weights.safetensors", weights)
    settings |= {"initial_weights": str(weights), "seed": 1, "save_every": 2}
    begun = Trainer(configure(None, settings), tmp_path, CPU).network.state_dict()
    for key, value in read_weights(weights).items():
        assert torch.equal(begun[key], value)
        if key.startswith("E.encoder_q."):
            assert torch.equal(begun[key.replace("_q.", "_k.")], value)
    run(settings, tmp_path / "uninterrupted")
    run(settings, tmp_path / "resumed", stop_after=2)
    weights.unlink()
    run(settings, tmp_path / "resumed")
    assert losses(tmp_path / "resumed") == losses(tmp_path / "uninterrupted") != losses(whole)
    assert f"| begun with | {weights.name} |" in (tmp_path / "resumed" / "README.md").read_text()


def test_a_run_from_weights_of_another_scale(settings: Settings, whole: Path, tmp_path: Path):
    random = Trainer(configure(None, settings | {"scale": 4}), tmp_path, CPU).network.state_dict()
    settings |= {"initial_weights": str(whole / "weights.safetensors"), "scale": 4}
    begun = Trainer(configure(None, settings), tmp_path, CPU).network.state_dict()
    weights = read_weights(whole / "weights.safetensors")
    tail = {key for key in begun if key.startswith("G.tail.")}
    assert {key for key in weights if key.startswith("G.tail.")} < tail
    assert all(torch.equal(begun[key], random[key]) for key in tail)
    assert all(torch.equal(begun[key], value) for key, value in weights.items() if key not in tail)


def test_weights_of_another_network_are_refused(settings: Settings, whole: Path, tmp_path: Path):
    settings |= {"initial_weights": str(whole / "weights.safetensors"), "groups": 2}
    with pytest.raises(CheckpointError, match="holds another network"):
        Trainer(configure(None, settings), tmp_path, CPU)


@pytest.mark.slow
def test_killed_at_any_moment(settings: Settings, tmp_path: Path):
    settings |= {"steps": 30}
    run(settings, tmp_path / "whole")
    folder = tmp_path / "killed"
    arguments = ["--output", str(folder), *as_options(settings)]
    kills = 0
    for entries in (1, 14, 28, 10**6):
        command = [sys.executable, *TRAIN, *arguments]
        process = subprocess.Popen(command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        while process.poll() is None and len(read_log(folder / "log.jsonl")) < entries:
            time.sleep(0.01)
        process.kill()
        _, error = process.communicate()
        kills += process.returncode == -signal.SIGKILL
        arguments = ["--resume", str(folder)]
    assert kills >= 2  # The third may have come too late.
    assert process.returncode == 0, error
    assert losses(folder) == losses(tmp_path / "whole")
    assert same_weights(folder, tmp_path / "whole")


@pytest.fixture(params=[signal.SIGTERM, signal.SIGINT])
def number(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """A signal that fails the test, and doesn't end its process, where training doesn't take it."""

    def stray(*_: object) -> None:
        pytest.fail("training did not take the signal")

    before = signal.signal(request.param, stray)
    yield request.param
    signal.signal(request.param, before)


def test_signals_save_first(
    settings: Settings, tmp_path: Path, number: signal.Signals, capsys: pytest.CaptureFixture[str]
):
    folder, ended = tmp_path / "run", threading.Event()

    def send() -> None:
        while len(read_log(folder / "log.jsonl")) < 4:
            if ended.wait(0.01):
                return
        os.kill(os.getpid(), number)

    sender = threading.Thread(target=send)
    sender.start()
    options = as_options({**settings, "steps": 100_000, "save_every": 100_000})
    code = cli.run(["train", "--output", str(folder), *options])
    ended.set()
    sender.join()
    output, error = capsys.readouterr()
    assert code == 128 + number, error
    last = losses(folder)[-1][0]
    assert "Stopping after this step" in error
    assert f"Stopped after step {last}; go on with dasr-fast train --resume {folder}" in output
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step-{last:08}.pt"]


class Halves(nn.Module):
    """An encoder whose batch normalisation sees each half of the images by itself."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.cat(parts) for parts in zip(*map(self.encoder, x.chunk(2)), strict=True))


class InHalves(MoCoLearner):
    """One process that does what two do: batch normalisation over each one's images, keys dealt out."""

    def forward(self, lr: Tensor, target: DegradationTarget | None = None) -> Learned:
        dealing = Exchange(
            deal=lambda images: torch.cat((images[::2], images[1::2])),
            collect=lambda keys: torch.stack(keys.chunk(2), dim=1).flatten(0, 1),
        )
        encoders, queue = (Halves(self.encoder_q), Halves(self.encoder_k)), (self.queue, self.queue_ptr)
        options = {"momentum": self.momentum, "temperature": self.temperature, "exchange": dealing}
        embedding, logits, labels = contrast(encoders, queue, lr[:, 0], lr[:, 1], **options)
        return Learned(embedding, F.cross_entropy(logits, labels), {})


@pytest.mark.slow
def test_two_processes_train_as_one(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kinds = [("moco", "synchronized"), ("moco", "shuffled"), ("moco", "kept"), ("oracle", "synchronized")]
    for representation, statistics in kinds:
        folder = tmp_path / f"{representation} {statistics}"
        folder.mkdir()
        both = {"representation": representation, "batch": 8, "batch_statistics": statistics}
        store(configure(None, settings | both), folder / "begin.toml")
    script = Path(two_processes.__file__)
    subprocess.run([*TORCHRUN, script, tmp_path], env=ENVIRONMENT, check=True, timeout=600, capture_output=True)
    assert [(tmp_path / f"answers{rank}").read_text() for rank in (0, 1)] == ["2 [False, True, True]"] * 2
    for representation, statistics in kinds:
        folder = tmp_path / f"{representation} {statistics}"
        assert all((folder / f"owned{rank}").exists() for rank in (0, 1))
        with monkeypatch.context() as patch:
            if statistics == "shuffled":
                patch.setitem(LEARNERS, "moco", lambda moco, images, quantities: InHalves(moco))
            alone = tmp_path / "one" / folder.name
            alone.mkdir(parents=True)
            one = Trainer(configure(folder / "begin.toml", {}), alone, CPU)
            one.train()
        expected, found = ([loss for *_, loss, _ in losses(path)] for path in (alone, folder))
        assert len(found) == one.schedule.total
        assert found == pytest.approx(expected, rel=1e-4)  # Sums of other order, through Adam.
        if representation == "moco":
            state = torch.load(folder / "checkpoints" / one.checkpoint.name, weights_only=True)["learner"]
            own = one.learner.state_dict()
            assert torch.equal(state["queue_ptr"], own["queue_ptr"])
            torch.testing.assert_close(state["queue"], own["queue"], rtol=0, atol=1e-3)


def test_the_best_checkpoint_stays(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures = {4: 20.0, 5: 23.0, 6: 21.0, 7: 22.0, 8: 19.0}
    taken: list[int] = []

    def validated(*_: object) -> list[Row]:
        taken.append(trainers[-1].taken)
        return [Row("0", 0.0, figures[taken[-1]], 0.5)]

    trainers: list[Trainer] = []
    monkeypatch.setattr("dasr_fast.training.trainer.validate", validated)
    settings |= {"steps": 5, "validation": settings["data"], "validate_every": 1, "save_every": 100}
    folder = tmp_path / "run"
    folder.mkdir()
    for stop_after in (6, None):
        trainers.append(Trainer(configure(None, settings), folder, CPU))
        if stop_after is None:
            assert trainers[-1].resume() == []
        trainers[-1].train(lambda stop=stop_after: trainers[-1].taken == stop)  # type: ignore[misc]
    assert taken == [4, 5, 6, 7, 8]
    assert [path.name for path in sorted((folder / "checkpoints").iterdir())] == [
        "step-00000005.pt",
        "step-00000006.pt",
        "step-00000008.pt",
    ]
    assert "The best weights were those of step 5, with 23.00 dB" in (folder / "README.md").read_text()
    assert BlindSR.from_pretrained(folder / "checkpoints" / "step-00000005.pt").scale == 2


@pytest.fixture(scope="module")
def stopped_once(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    run({**small_settings(photos), "ema": 0.9}, folder, stop_after=5)
    return folder


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """Folder of a run with checkpoints of steps 4 and 5, of 7."""
    return Path(shutil.copytree(stopped_once, tmp_path / "run"))


def of_other_sizes(optimizer: dict[str, Any]) -> dict[str, Any]:
    state = {i: dict.fromkeys(of_parameter, torch.ones(1)) for i, of_parameter in optimizer["state"].items()}
    return {**optimizer, "state": state}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state | {"sr": {"a": torch.ones(1)}}, "it holds something else"),
        (lambda state: {name: x for name, x in state.items() if name != "optimizer"}, "it lacks 'optimizer'"),
        (list, "it holds something else"),
        (lambda state: state | {"taken": 10**6}, "it holds something else"),
        (lambda state: state | {"rows": [{"a": 1}]}, "it holds something else"),
        (lambda state: state | {"average": dict.fromkeys(state["average"], torch.ones(1))}, "it holds something else"),
        (lambda state: state | {"optimizer": of_other_sizes(state["optimizer"])}, "it holds something else"),
    ],
)
def test_a_checkpoint_that_does_not_fit(stopped: Path, damage: Callable[[dict[str, Any]], Any], message: str):
    newest = stopped / "checkpoints" / "step-00000005.pt"
    torch.save(damage(torch.load(newest, weights_only=True)), newest)
    trainer = Trainer(resumed(stopped / "configuration.toml", {}), stopped, CPU)
    (remark,) = trainer.resume()
    assert remark == f"{newest} is no checkpoint of this run: {message}. The run goes on from step 4."
    assert trainer.taken == 4
    older = torch.load(stopped / "checkpoints" / "step-00000004.pt", weights_only=True)
    assert all(torch.equal(x, older["sr"][name]) for name, x in trainer.network.G.state_dict().items())


def test_checkpoints_of_before_there_was_a_best_can_be_resumed(stopped: Path):
    newest = stopped / "checkpoints" / "step-00000005.pt"
    state = torch.load(newest, weights_only=True)
    del state["best"]
    torch.save(state, newest)
    trainer = Trainer(resumed(stopped / "configuration.toml", {}), stopped, CPU)
    assert (trainer.resume(), trainer.taken) == ([], 5)


def test_without_a_checkpoint(stopped: Path):
    for path in (stopped / "checkpoints").iterdir():
        path.write_bytes(b"")
    trainer = Trainer(resumed(stopped / "configuration.toml", {}), stopped, CPU)
    message = r"No checkpoint in .*checkpoints can be resumed\. .*step-00000005.pt is not"
    with pytest.raises(CheckpointError, match=message):
        trainer.resume()
    shutil.rmtree(stopped / "checkpoints")
    message = r"were removed, .* can begin with --initial-weights .*weights.safetensors"
    with pytest.raises(CheckpointError, match=message):
        trainer.resume()
    for result in ("weights.safetensors", "README.md"):
        (stopped / result).unlink()
    assert trainer.resume() == [f"{stopped} holds no checkpoint yet; the run begins anew."]


def test_a_moved_folder_of_images_is_no_other_run(settings: Settings, whole: Path, tmp_path: Path):
    photos = tmp_path / "moved" / "photos"
    shutil.copytree(settings["data"], photos)
    run(settings, tmp_path / "run", stop_after=2)
    run(settings, tmp_path / "run", data=photos)
    assert losses(tmp_path / "run") == losses(whole)


def test_a_loss_that_is_not_finite_ends_the_run(settings: Settings, tmp_path: Path):
    trainer = Trainer(configure(None, settings), tmp_path, CPU)
    with torch.no_grad():
        next(trainer.learner.parameters()).fill_(float("nan"))
    with pytest.raises(TrainingError, match="isn't finite any more at step 1"):
        trainer.train()
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize("stop_at", [2, None])
def test_what_is_not_finite_is_never_saved(settings: Settings, tmp_path: Path, stop_at: int | None):
    trainer = Trainer(configure(None, settings | {"log_every": 100, "save_every": 1}), tmp_path, CPU)

    def spoil() -> bool:
        if trainer.taken == 2:
            with torch.no_grad():
                next(trainer.network.G.parameters()).fill_(float("nan"))  # The encoder's loss doesn't change.
        return trainer.taken == stop_at

    with pytest.raises(TrainingError, match="isn't finite any more at step"):
        trainer.train(spoil)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000001.pt"]
    read_weights(tmp_path / "weights.safetensors")


def test_a_finished_run_writes_what_is_asked_for_later(settings: Settings, whole: Path, tmp_path: Path):
    shutil.copytree(whole, tmp_path / "run")
    run(settings, tmp_path / "run", pt=True)
    state, pt = (read_weights(tmp_path / "run" / f"weights.{kind}") for kind in ("safetensors", "pt"))
    assert all(torch.equal(value, pt[key]) for key, value in state.items())
    assert losses(tmp_path / "run") == losses(whole)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, "batch must be a multiple of the number of processes, 3; got 4"),
        ({"precision": "tf32"}, "precision tf32 needs an NVIDIA GPU"),
        ({"queue": 2}, "queue must be at least as large as batch, 4; got 2."),
        ({"representation": "in-batch", "batch": 1}, "batch must be at least 2 for the representation in-batch"),
        ({"representation": "oracle", "steps": 0}, "The representation oracle is learned in steps, which are 0."),
        ({"batch_statistics": "kept", "encoder_steps": 0}, "no statistics to be kept: begin with weights, or with"),
    ],
)
def test_settings_that_do_not_suit(settings: Settings, tmp_path: Path, changed: dict[str, Any], message: str):
    with pytest.raises(ConfigurationError) as error:
        Trainer(configure(None, {**settings, **changed}), tmp_path, CPU if changed else Processes(CPU.device, 0, 3))
    assert message in str(error.value)
