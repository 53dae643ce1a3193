import types

import pytest
import torch

from dasr_fast import ops
from dasr_fast.build import record
from dasr_fast.ops import backends


def test_parts_of_the_library_are_those_that_are_built():
    assert {backend.part for backend in backends.BACKENDS.values()} == {None, *record.PARTS}


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
def test_which_backend_runs():
    x, gate = torch.ones(1, 2, 3, 3), torch.zeros(1, 2)
    # By itself the first that can.
    assert torch.equal(ops.channel_modulation(x, gate), x * 2)
    assert torch.equal(ops.channel_modulation(x, gate, x), x)
    assert torch.equal(ops.channel_modulation(x, gate, backend="reference"), x * 0)
    # One asked for by name, or the reason.
    assert torch.equal(ops.channel_modulation(x, gate, backend="cpp"), x * 2)
    with pytest.raises(RuntimeError, match="cpp can't run: residuals are beyond it"):
        ops.channel_modulation(x, gate, x, backend="cpp")
    reason = backends.refusal("channel_modulation", "cpp", "meta", (None, None, None))
    assert reason == "it needs tensors on cpu, and these are on meta"
    # Of several the first that can.
    assert torch.equal(ops.channel_modulation(x, gate, backend=("cpp", "reference")), x * 2)
    assert torch.equal(ops.channel_modulation(x, gate, x, backend=("cpp", "reference")), x)
    assert torch.equal(ops.channel_modulation(x, gate, backend=("cpp", "auto")), x * 2)
    with pytest.raises(RuntimeError, match="cuda can't run"):
        ops.channel_modulation(x, gate, x, backend=("cpp", "cuda"))


def half_block(*shape: int) -> dict[str, torch.Tensor | None]:
    b, c, h, w = shape
    shapes = {"x": shape, "kernel": (b, c, 3, 3), "weight": (c, c), "bias": None, "gate": (b, c)}
    shapes |= {"conv_weight": (5, c, 3, 3), "conv_bias": (5,), "residual": (b, 5, h, w)}
    return {name: size and torch.randn(size, dtype=torch.float64) for name, size in shapes.items()}


@pytest.mark.parametrize("shape", [(2, 4, 6, 5), (2, 4, 0, 5), (0, 4, 6, 5)], ids=str)
@pytest.mark.parametrize("activate", [False, True])
def test_smaller_ops_compute_where_no_kernel_is(activate: bool, shape: tuple[int, ...]):
    """Of float64 there is none."""
    tensors = half_block(*shape)
    inputs = [tensor.requires_grad_() for tensor in tensors.values() if tensor is not None]
    y = ops.da_half_block(**tensors, activate=activate)
    expected = ops.da_half_block(**tensors, activate=activate, backend="reference")
    torch.testing.assert_close(y, expected)
    weights = torch.randn_like(y)
    grads, targets = (torch.autograd.grad(result, inputs, weights) for result in (y, expected))
    torch.testing.assert_close(grads, targets)
    with torch.no_grad():
        torch.testing.assert_close(ops.da_half_block(**tensors, activate=activate), expected.detach())


def test_a_slow_kernel_is_left_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch):
    kernel = types.ModuleType("kernel")
    kernel.conv3x3 = lambda x, weight, *_: torch.full((1, 6, 9, 9), 7.0)
    monkeypatch.setitem(backends.IMPLEMENTATIONS, ("conv3x3", "cpp"), kernel)
    x, weight = torch.randn(1, 4, 9, 9), torch.randn(6, 4, 3, 3)
    assert (ops.conv3x3(x, weight, None) == 7).all()
    kernel.is_slow = lambda x, *_: x.shape[1] < 16
    expected = torch.nn.functional.conv2d(x, weight, padding=1)
    assert torch.equal(ops.conv3x3(x, weight, None), expected)
    assert (ops.conv3x3(x, weight, None, backend="cpp") == 7).all()
