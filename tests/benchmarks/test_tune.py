from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

pytest.importorskip("triton")

from tuning_helpers import FACTS

from benchmarks import tune


def test_a_dry_run_lists_what_would_be_tried():
    result = CliRunner().invoke(tune.main, ["--dry-run", "--op", "channel_modulation", "--dtype", "float16"])
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[-1] == "16 problems" == f"{len(lines) - 1} problems"
    assert all("float16" in line and "BLOCK_W" in line for line in lines[:-1])


def test_the_file_is_named_for_the_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA Test 1")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(tune, "CONFIGURATIONS", tmp_path / "configs")
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(tune, "tune", lambda *arguments: calls.append(arguments))
    result = CliRunner().invoke(tune.main, ["--op", "channel_modulation", "--budget", "9"])
    assert result.exit_code == 0, result.output
    ((found, device, path, facts, budget, *_),) = calls
    assert (len(found), device, path, budget) == (48, "cuda", tmp_path / "configs" / "test_1.json", 9)
    assert (facts["device"], facts["capability"]) == ("NVIDIA Test 1", [9, 0])
    assert facts.keys() == FACTS.keys()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so():
    result = CliRunner().invoke(tune.main, [])
    assert result.exit_code == 1
    assert result.output == "Error: No NVIDIA GPU was found; --dry-run lists what would be tried on one.\n"
