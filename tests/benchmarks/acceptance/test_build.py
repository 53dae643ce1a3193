import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.acceptance import build
from benchmarks.acceptance.part import AbsentError, Asked, Report


def test_without_ninja_the_part_is_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setitem(sys.modules, "ninja", None)
    report = Report("build")
    with pytest.raises(AbsentError, match="it needs the Python package ninja"):
        build.run(Asked(tmp_path, "cpu", time.monotonic() + 60), report)
    assert report.failures == []


def test_kernels_are_for_this_gpu_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    asked: list[str] = []

    def said(command: list[str], log: Path, seconds: float, environment: dict[str, str]) -> tuple[int, str]:
        asked.append(environment["TORCH_CUDA_ARCH_LIST"])
        return 0, "built"

    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0")
    monkeypatch.setattr(build, "said", said)
    for capability in ((9, 0), (8, 6)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda capability=capability: capability)
        build.run(Asked(tmp_path, "cuda", time.monotonic() + 60), Report("build"))
    assert asked == ["9.0a", "8.6"]
