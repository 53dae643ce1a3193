import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from dasr_fast.training.logs import Log, Means, Window, read_log


def test_means_of_a_window():
    window = Window()
    for value in (1.0, 2.0, 6.0):
        window.add({"loss": torch.tensor(value), "l1": torch.tensor(10 * value)})
    means = Means(window, world=1)
    assert means.arrived()
    assert means.read() == {"loss": 3.0, "l1": 30.0}


@pytest.mark.parametrize("world", [1, 2])
def test_several_processes_read_means_at_the_same_step(world: int, monkeypatch: pytest.MonkeyPatch):
    """On a GPU, where they are still under way."""
    waited: list[bool] = []
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda _: None)
    window = Window()
    window.add({"loss": torch.tensor(2.0)})
    means = Means(window, world)
    means._arrived = SimpleNamespace(query=lambda: False, synchronize=lambda: waited.append(True))
    assert means.arrived() == (world > 1)
    assert means.read() == {"loss": 2.0 / world}
    assert waited == [True]


def test_float32_losses_are_summed_in_float64():
    window = Window()
    for _ in range(3000):
        window.add({"loss": torch.tensor(0.1)})
    assert Means(window, world=1).read()["loss"] == pytest.approx(torch.tensor(0.1).item(), rel=1e-12)


def test_a_resumed_log_forgets_later_and_unfinished_entries(tmp_path: Path):
    log = Log(tmp_path)
    for step in (1, 2, 3):
        log.write(step, "training", {"loss": step / 3, "stage": "encoder"})
    log.close()
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    assert [entry["step"] for entry in read_log(log.path)] == [1, 2, 3]
    log = Log(tmp_path, step=2)
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
    log = Log(tmp_path)
    assert log.shows_pictures
    log.write(5, "training", {"loss": 0.25, "stage": "encoder"})
    log.picture(5, "a.png", torch.full((3, 4, 5), 300.0))
    log.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("training/loss")] == [(5, 0.25)]
    (picture,) = events.Images("a.png")
    assert (picture.step, picture.height, picture.width) == (5, 4, 5)
