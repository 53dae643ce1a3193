"""Several processes: what they agree on, and how they stop together."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from training.small_run import ENVIRONMENT, TORCHRUN, TRAIN, as_options, make_images, small_settings

from dasr_fast.processes import Processes, joined
from dasr_fast.training.log import read_log


def test_alone():
    with joined(torch.device("cpu")) as processes:
        assert processes == Processes(torch.device("cpu"), 0, 1)
        assert processes.any(True)
        assert not processes.any(False)


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch):
    for name, value in (("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"^There are 2 GPUs for 4 processes\.$"), joined(torch.device("cuda")):
        pass


@pytest.mark.slow
def test_all_stop_after_the_same_step(tmp_path: Path):
    folder = tmp_path / "run"
    options = as_options({**small_settings(make_images(tmp_path / "photos")), "steps": 100_000, "save_every": 100_000})
    process = subprocess.Popen(
        [*TORCHRUN, *TRAIN, "--output", str(folder), *options],
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    while len(read_log(folder / "log.jsonl")) < 4 and process.poll() is None:
        time.sleep(0.05)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (second,) = (pid for pid in children if "RANK=1" in Path(f"/proc/{pid}/environ").read_text().split("\0"))
    os.kill(int(second), signal.SIGTERM)
    output, error = process.communicate(timeout=600)
    last = read_log(folder / "log.jsonl")[-1]["step"]
    assert f"Stopped after step {last};" in output, error
    assert [path.name for path in (folder / "checkpoints").iterdir()] == [f"step-{last:08}.pt"]
