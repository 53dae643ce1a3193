import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import files_of_at_most

from dasr_fast.models import CheckpointError
from dasr_fast.processes import Processes
from dasr_fast.training.folder import Checkpoints, FolderError, is_unused, owned

CPU = Processes(torch.device("cpu"))


def test_one_at_a_time_and_the_lock_dies_with_its_process(tmp_path: Path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with owned(tmp_path, CPU):
            os.write(writer, b"owned")
            signal.alarm(60)
            signal.pause()
    os.close(writer)
    try:
        assert os.read(reader, 5) == b"owned"
        with pytest.raises(FolderError, match=rf"^{tmp_path} is in use by another process that trains"):
            owned(tmp_path, CPU).__enter__()
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for _ in range(2):
        with owned(tmp_path, CPU):
            pass


def test_leftovers_of_a_killed_process_go_and_nothing_else(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    leftovers = [".0a1b2c3d.safetensors", ".0a1b2c3d.toml", "checkpoints/.ffffffff.pt"]
    others = [".hidden", ".0a1b2c3d.png", "a.toml", ".0a1b2c3d4.pt"]
    for name in (*leftovers, *others):
        (tmp_path / name).write_text("")
    with owned(tmp_path, CPU):
        assert not any((tmp_path / name).exists() for name in leftovers)
        assert all((tmp_path / name).exists() for name in others)


def test_a_folder_with_nothing_but_leftovers_is_unused(tmp_path: Path):
    assert is_unused(tmp_path / "new")
    assert is_unused(tmp_path)
    for name, unused in ((".lock", True), (".0a1b2c3d.toml", True), ("configuration.toml", False)):
        (tmp_path / name).write_text("")
        assert is_unused(tmp_path) == unused
    assert not is_unused(tmp_path / "configuration.toml")


def contents(checkpoints: Checkpoints) -> list[Any]:
    return [content for _, content in checkpoints.latest_first()]


def test_the_last_two_are_kept_and_the_best(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    assert contents(checkpoints) == []
    for step in (5, 10, 200):
        path = checkpoints.write(step, {"step": step, "x": torch.full((2,), float(step))})
        assert path == checkpoints.path(step)
    assert checkpoints.steps() == [10, 200]
    (path, latest), _ = checkpoints.latest_first()
    assert (path, latest["step"]) == (checkpoints.path(200), 200)
    assert torch.equal(latest["x"], torch.tensor([200.0, 200.0]))
    for step in (300, 400):
        checkpoints.write(step, {}, best=10)
    assert checkpoints.steps() == [10, 300, 400]
    checkpoints.write(500, {}, best=500)
    assert checkpoints.steps() == [400, 500]
    checkpoints.write(450, {})  # What is of a future that could not be resumed goes.
    assert checkpoints.steps() == [400, 450]


def test_damaged_ones_are_known(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2):
        checkpoints.write(step, {"step": torch.full((100,), step)})
    damaged = checkpoints.path(2)
    whole = damaged.read_bytes()
    for content in (whole[:200], b"", whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]):
        damaged.write_bytes(content)
        newer, older = contents(checkpoints)
        assert isinstance(newer, CheckpointError)
        assert str(damaged) in str(newer)
        assert torch.equal(older["step"], torch.full((100,), 1))
    damaged.unlink()
    damaged.mkdir()
    assert os.strerror(21) in str(contents(checkpoints)[0])


def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(1, {"step": 1})
    with files_of_at_most(1000), pytest.raises(OSError, match=r"step-00000001.pt can't be written: File too large\.$"):
        checkpoints.write(1, {"step": torch.zeros(1000)})
    assert contents(checkpoints) == [{"step": 1}]
    with pytest.raises(AttributeError):
        checkpoints.write(1, {"step": lambda: 0})
    assert contents(checkpoints) == [{"step": 1}]
