import types

import pytest
import torch

from dasr_fast import ops
from dasr_fast.ops import backends


def test_reference_always_runs():
    assert all(not isinstance(backends.IMPLEMENTATIONS[op, "reference"], str) for op in backends.OPS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("backend", ["triton", "cuda"])
def test_a_backend_that_is_off_says_why(backend: str):
    with pytest.raises(RuntimeError, match=f"da_conv: the backend {backend} can't run: no NVIDIA GPU was found."):
        backends.choose("da_conv", backend, "cpu", ())


@pytest.fixture
def doubling(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cpp backend of channel_modulation that doubles, and refuses a residual."""
    module = types.ModuleType("doubling")
    module.channel_modulation = lambda x, gate, residual: x * 2
    module.unsupported = lambda x, gate, residual: None if residual is None else "residuals are beyond it"
    monkeypatch.setitem(backends.IMPLEMENTATIONS, ("channel_modulation", "cpp"), module)


@pytest.mark.usefixtures("doubling")
def test_auto_takes_the_first_that_can():
    x, gate = torch.ones(1, 2, 3, 3), torch.zeros(1, 2)
    assert torch.equal(ops.channel_modulation(x, gate), x * 2)
    assert torch.equal(ops.channel_modulation(x, gate, x), x)
    assert torch.equal(ops.channel_modulation(x, gate, backend="reference"), x * 0)


@pytest.mark.usefixtures("doubling")
def test_a_backend_asked_for_by_name_runs_or_says_why():
    x, gate = torch.ones(1, 2, 3, 3), torch.zeros(1, 2)
    assert torch.equal(ops.channel_modulation(x, gate, backend="cpp"), x * 2)
    with pytest.raises(RuntimeError, match="cpp can't run: residuals are beyond it"):
        ops.channel_modulation(x, gate, x, backend="cpp")


@pytest.mark.usefixtures("doubling")
def test_device_counts():
    reason = backends.refusal("channel_modulation", "cpp", "meta", (None, None, None))
    assert reason == "it needs tensors on cpu, and these are on meta"


def test_has_kernel(monkeypatch: pytest.MonkeyPatch):
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(6, 4, 3, 3)
    arguments = (x, weight, None, None, None)
    assert backends.has_kernel("conv3x3", "reference", arguments)
    assert not backends.has_kernel("conv3x3", "cuda", arguments)
    assert not backends.has_kernel("conv3x3", "auto", tuple(t if t is None else t.double() for t in arguments))
    monkeypatch.setitem(backends.IMPLEMENTATIONS, ("conv3x3", "cpp"), "it is off for the test")
    assert not backends.has_kernel("conv3x3", "auto", arguments)
    monkeypatch.setitem(backends.IMPLEMENTATIONS, ("conv3x3", "cpp"), types.ModuleType("kernel"))
    assert backends.has_kernel("conv3x3", "auto", arguments)
