from pathlib import Path

import pytest
import torch
from full_disk import files_of_at_most

from dasr_fast.models import CheckpointError
from dasr_fast.training.checkpoint import Checkpoints


def test_the_last_two_are_kept(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert checkpoints.latest() is None
    for step in (5, 10, 200):
        path = checkpoints.write(step, {"step": step, "x": torch.full((2,), float(step))})
        assert path == checkpoints.path(step)
    assert checkpoints.steps() == [10, 200]
    latest = checkpoints.latest()
    assert latest is not None
    assert latest["step"] == 200
    assert torch.equal(latest["x"], torch.tensor([200.0, 200.0]))


def test_a_damaged_one_is_passed_over(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.write(step, {"step": step})
    damaged = checkpoints.path(2)
    damaged.write_bytes(damaged.read_bytes()[:200])
    latest = checkpoints.latest()
    assert latest is not None
    assert latest["step"] == 1
    checkpoints.path(1).write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"No checkpoint in .* can be read"):
        checkpoints.latest()


def test_what_a_killed_process_left_is_removed_and_never_read(tmp_path: Path):
    (tmp_path / ".1a2b3c4d.pt").write_bytes(b"half")
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() is None
    checkpoints.write(1, {"step": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]


def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"step": 1})
    with files_of_at_most(1000), pytest.raises(OSError, match=r"checkpoint .*step-00000001.pt can't be written"):
        checkpoints.write(1, {"step": torch.zeros(1000)})
    assert checkpoints.latest() == {"step": 1}
    with pytest.raises(AttributeError):
        checkpoints.write(1, {"step": lambda: 0})
    assert checkpoints.latest() == {"step": 1}
