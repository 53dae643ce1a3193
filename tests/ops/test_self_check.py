import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from dasr_fast import ops
from dasr_fast.ops import backends, self_check
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS, OPS

CPU = torch.device("cpu")
KERNELS = "triton" if backends.INTERPRETED else "cpp"
CHECKED = [op for op in OPS if not isinstance(IMPLEMENTATIONS[op, KERNELS], str)]
pytestmark = pytest.mark.skipif(not CHECKED, reason=f"no kernels: {IMPLEMENTATIONS[OPS[0], KERNELS]}")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(self_check, "_FOUND", {})


@pytest.fixture
def checked_at_first_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels for CPUs are checked as those for GPUs are."""
    original = backends._is_best

    def is_best(op: str, backend: str, device: str, arguments: tuple[Any, ...]) -> bool:
        return original(op, backend, device, arguments) and self_check.failure(op, backend, CPU) is None

    monkeypatch.setattr(backends, "_is_best", is_best)


@pytest.mark.parametrize("op", CHECKED)
def test_right_kernels_pass(op: str):
    assert self_check.check(op, KERNELS, CPU) is None


@pytest.mark.parametrize("op", CHECKED)
def test_each_wrong_function_is_found(op: str, monkeypatch: pytest.MonkeyPatch):
    kernels: Any = IMPLEMENTATIONS[op, KERNELS]
    reference = importlib.import_module(f"dasr_fast.reference.{op}")
    for name in self_check._functions(op, reference):
        right = getattr(kernels, name)

        def wrong(*arguments: Any, right: Any = right) -> Any:
            results = right(*arguments)
            tensors = [results] if isinstance(results, torch.Tensor) else list(results)
            tensors[-1].view(-1)[-1:] += 100
            return results

        with monkeypatch.context() as patch:
            patch.setattr(kernels, name, wrong)
            reason = self_check.check(op, KERNELS, CPU)
        assert reason is not None
        assert reason.startswith(f"{name} in float32 differs from the reference by")


def test_a_kernel_that_raises_is_named(monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any) -> Any:
        raise RuntimeError("no kernel image\nis available")

    monkeypatch.setattr(IMPLEMENTATIONS["channel_modulation", KERNELS], "channel_modulation", broken)
    reason = self_check.check("channel_modulation", KERNELS, CPU)
    assert reason == "a check of them failed: no kernel image is available"


@pytest.mark.skipif(backends.INTERPRETED, reason="auto doesn't take interpreted kernels")
@pytest.mark.usefixtures("checked_at_first_use")
class TestFirstUse:
    x, kernel = torch.randn(1, 8, 6, 5), torch.randn(1, 8, 3, 3)
    expected = F.conv2d(x, kernel.transpose(0, 1), padding=1, groups=8)

    def test_wrong_kernels_are_off_with_one_warning(self, monkeypatch: pytest.MonkeyPatch, recwarn: Any):
        kernels = IMPLEMENTATIONS["dynamic_depthwise_conv", "cpp"]
        monkeypatch.setattr(kernels, "dynamic_depthwise_conv", lambda x, *_: torch.full_like(x, torch.nan))
        for _ in range(2):
            torch.testing.assert_close(ops.dynamic_depthwise_conv(self.x, self.kernel), self.expected)
        assert len(recwarn) == 1
        assert "dynamic_depthwise_conv: the cpp kernels are off on this machine" in str(recwarn[0].message)

    def test_what_was_found_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        ops.dynamic_depthwise_conv(self.x, self.kernel)
        kept = json.loads((tmp_path / "dasr-fast" / "checked-kernels.json").read_text())
        assert list(kept.values()) == [None]
        monkeypatch.setattr(self_check, "_FOUND", {})
        monkeypatch.setattr(self_check, "check", lambda *_: pytest.fail("it was checked before"))
        ops.dynamic_depthwise_conv(self.x, self.kernel)

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        file = tmp_path / "file"
        file.write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(file))
        ops.dynamic_depthwise_conv(self.x, self.kernel)

    def test_under_compile(self):
        compiled = torch.compile(ops.dynamic_depthwise_conv, fullgraph=True, backend="aot_eager")
        torch.testing.assert_close(compiled(self.x, self.kernel), self.expected)
        assert self_check._FOUND == {("dynamic_depthwise_conv", "cpp", CPU): None}


def test_gpu_kernels_are_checked(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(self_check, "failure", lambda op, backend, device: asked.append(backend))
    monkeypatch.setattr(backends, "refusal", lambda *_: None)
    for name, backend in BACKENDS.items():
        monkeypatch.setitem(IMPLEMENTATIONS, ("da_conv", name), object())
        backends._is_best("da_conv", name, backend.device or "cpu", (torch.zeros(1),))
    assert asked == [name for name, backend in BACKENDS.items() if backend.device == "cuda"]
