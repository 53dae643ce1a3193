from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from dasr_fast.kernels import requirements as module
from dasr_fast.kernels.requirements import obstacle


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """What is found is remembered."""
    yield
    module._obstacle.cache_clear()


def told(monkeypatch: pytest.MonkeyPatch, *capability: int) -> str | None:
    """What is said of a T4 of this compute capability."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    module._obstacle.cache_clear()
    return obstacle(torch.device("cuda"))


def test_an_old_gpu_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_missing", lambda: None)
    assert told(monkeypatch, 7, 5) == "it needs compute capability 8.0, and the T4 has 7.5"
    assert told(monkeypatch, 8, 0) is None


def test_what_triton_compiles_launchers_with_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    include, compiler = tmp_path / "include", tmp_path / "gcc"
    include.mkdir()
    compiler.touch(0o755)
    monkeypatch.setattr(module.sysconfig, "get_path", lambda *_: str(include))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert told(monkeypatch, 9, 0) == f"Triton needs Python's headers, and {include} has no Python.h"
    (include / "Python.h").touch()
    assert told(monkeypatch, 9, 0) is None
    monkeypatch.setenv("CC", "no-such-compiler")
    assert "Triton needs a C compiler" in str(told(monkeypatch, 9, 0))
    monkeypatch.delenv("CC")
    compiler.unlink()
    assert "Triton needs a C compiler" in str(told(monkeypatch, 9, 0))
