import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dasr_fast.training import display
from dasr_fast.training.log import LogFile, Means, Window, read_log


def test_means_of_a_window_are_summed_in_float64():
    window = Window()
    for i in range(3000):
        window.add({"loss": torch.tensor(0.1), "l1": torch.tensor(10.0 * (i % 3))})
    means = Means(window, world=1)
    assert means.arrived()
    assert means.read() == {"loss": pytest.approx(torch.tensor(0.1).item(), rel=1e-12), "l1": 10.0}


@pytest.mark.parametrize("world", [1, 2])
def test_several_processes_read_means_at_the_same_step(world: int, monkeypatch: pytest.MonkeyPatch):
    """On a GPU, where they are still under way."""
    waited: list[bool] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _: None)
    window = Window()
    window.add({"loss": torch.tensor(2.0)})
    means = Means(window, world)
    means._arrived = SimpleNamespace(query=lambda: False, synchronize=lambda: waited.append(True))
    assert (means.arrived(), means.read(), waited) == (world > 1, {"loss": 2.0 / world}, [True])


def test_a_resumed_log_forgets_later_and_unfinished_entries(tmp_path: Path):
    log = LogFile(tmp_path)
    for step in (1, 2, 3):
        log.write(step, "training", {"loss": step / 3, "stage": "encoder"})
    log.close()
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [entry["step"] for entry in read_log(log.path)] == [1, 2, 3]
    log = LogFile(tmp_path, step=2)
    log.write(3, "training", {"loss": 7.0})
    log.close()
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [(line["step"], line["kind"], line["loss"]) for line in lines] == [
        (1, "training", 1 / 3),
        (2, "training", 2 / 3),
        (3, "training", 7.0),
    ]
    assert read_log(tmp_path / "nowhere.jsonl") == []


@pytest.mark.parametrize("torn", [b'{"step": 2, "ki\n', b"\n", b"\xff\xfe\x00\n", b"[2]\n", b'{"kind": "training"}\n'])
def test_torn_lines_are_left_out(tmp_path: Path, torn: bytes):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n' + torn + b'{"step": 3}\n')
    assert [entry["step"] for entry in read_log(path)] == [1, 3]


def test_tensorboard_gets_scalars_and_pictures(tmp_path: Path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = LogFile(tmp_path)
    assert log.board is not None
    log.write(5, "training", {"loss": 0.25, "stage": "encoder"})
    log.picture(5, "a.png", torch.full((3, 4, 5), 300.0))
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("training/loss")] == [(5, 0.25)]
    (picture,) = events.Images("a.png")
    assert (picture.step, picture.height, picture.width) == (5, 4, 5)


@dataclass
class Clock:
    now: float = 0.0

    def monotonic(self) -> float:
        return self.now


def test_time_left_is_of_the_stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    clock = Clock()
    monkeypatch.setattr(display, "time", clock)
    with display.Display(0, 100, 4) as shown:
        for step, end, now in ((10, 20, 60), (20, 20, 120), (30, 100, 720), (40, 100, 1320)):
            clock.now = now
            shown.figures(step, end, 1.5, shown.rate(step), "stage")
    lines = [line.partition(": ") for line in capsys.readouterr().err.splitlines()]
    assert [before for before, _, _ in lines] == [
        "step 10 of 100, 1.0 min left of this stage",
        "step 20 of 100, 0.0 min left of this stage",
        "step 30 of 100, 70.0 min left",
        "step 40 of 100, 60.0 min left",
    ]
    assert [after.split(", ")[1] for _, _, after in lines] == ["0.667 images/s"] * 2 + ["0.0667 images/s"] * 2


def test_nothing_is_shown_in_other_processes(capsys: pytest.CaptureFixture[str]):
    with display.Display(0, 100, 4, shown=False) as shown:
        shown.figures(10, 100, 1.5, 1.0, "stage")
        shown.say("something")
    assert capsys.readouterr() == ("", "")
