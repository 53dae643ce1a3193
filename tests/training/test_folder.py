"""One run in one folder."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from training.small_run import ENVIRONMENT, TORCHRUN

from dasr_fast.training.folder import FolderError, is_unused, owned
from dasr_fast.training.processes import Processes

CPU = Processes(torch.device("cpu"))

HOLD = """
import sys
from pathlib import Path
import torch
from dasr_fast.training.folder import owned
from dasr_fast.training.processes import joined
with joined(torch.device("cpu")) as processes, owned(Path(sys.argv[1]), processes):
    print("owned", flush=True)
    sys.stdin.read()
"""


def hold(folder: Path) -> "subprocess.Popen[str]":
    """A process that owns the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "owned\n"
    return process


def test_one_at_a_time_and_the_lock_dies_with_its_process(tmp_path: Path):
    process = hold(tmp_path)
    try:
        with pytest.raises(FolderError, match=rf"^{tmp_path} is in use by another process that trains"):
            owned(tmp_path, CPU).__enter__()
    finally:
        process.kill()
        process.communicate()
    for _ in range(2):
        with owned(tmp_path, CPU):
            pass


def test_processes_that_train_together_own_a_folder_together(tmp_path: Path):
    script = tmp_path / "hold.py"
    script.write_text(HOLD)
    folder = tmp_path / "run"
    folder.mkdir()
    command = [*TORCHRUN, str(script), str(folder)]
    output = subprocess.run(
        command, env=ENVIRONMENT, text=True, capture_output=True, timeout=120, check=True, stdin=subprocess.DEVNULL
    ).stdout
    assert output.count("owned") == 2


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
