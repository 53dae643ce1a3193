from typing import Any

import pytest
import torch
from golden import error
from torch import Tensor, nn

from dasr_fast.inference.block import CopiedBlock, FoldedBlock
from dasr_fast.inference.kernels_and_gates import KernelsAndGates
from dasr_fast.nn import DABlock
from dasr_fast.ops import backends

COVERED: list[dict[str, Any]] = [
    {},
    {"gate": "none"},
    {"depthwise": "static"},
    {"kernel_size": 5},
    {"kernel_activation": "prelu"},
    {"block_slope": 0.3, "negative_slope": 0.3},
    {"block_activation": "relu", "activation": "relu"},
    {"block_activation": "none", "activation": "none"},
]
OTHERS: list[dict[str, Any]] = [
    {"gate": "series"},
    {"pointwise": False},
    {"spatial_gate": True},
    {"block_slope": 0.2},
    {"activation": "prelu"},
    {"block_activation": "prelu"},
    {"block_activation": "relu"},
]


def example(options: dict[str, Any]) -> tuple[DABlock, Tensor, Tensor]:
    """A block in float64, features and a representation."""
    block = DABlock(6, 5, reduction=2, **options).double()
    x = 30 * torch.randn(2, 6, 7, 4, dtype=torch.float64)
    return block, x.contiguous(memory_format=torch.channels_last), torch.randn(2, 5, dtype=torch.float64)


@pytest.mark.parametrize("gain", [1.0, 0.125])
@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("options", COVERED)
def test_folded(options: dict[str, Any], backend: str, gain: float):
    block, x, v = example(options)
    assert FoldedBlock.covers(block)
    kernels_and_gates = KernelsAndGates([block.da_conv1, block.da_conv2], torch.float64)
    with torch.no_grad():
        expected = block(x, v)
        folded = FoldedBlock(block, torch.float64, backend, gain)
        for parameter in block.parameters():
            parameter.zero_()
        result = folded(x * gain, v, iter(kernels_and_gates(v)))
    assert error(result / gain, expected) < 1e-13


@pytest.mark.parametrize("gain", [1.0, 0.125])
@pytest.mark.parametrize("options", OTHERS)
def test_copied(options: dict[str, Any], gain: float):
    block, x, v = example(options)
    assert not FoldedBlock.covers(block)
    with torch.no_grad():
        expected = block(x, v)
        copied = CopiedBlock(block, torch.float64, "reference", gain)
        for parameter in block.parameters():
            parameter.zero_()
        result = copied(x * gain, v, iter(()))
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert error(result / gain, expected) < 1e-13


def test_other_modules_are_not_covered():
    class Derived(DABlock):
        pass

    assert not FoldedBlock.covers(Derived(6))
    assert not FoldedBlock.covers(nn.Conv2d(6, 6, 3))


def test_without_a_kernel_for_half_a_block(monkeypatch: pytest.MonkeyPatch):
    for name in ("cuda", "triton", "cpp"):
        monkeypatch.setitem(backends.IMPLEMENTATIONS, ("da_half_block", name), "it is off for the test")
        monkeypatch.setitem(backends.IMPLEMENTATIONS, ("conv3x3", name), "it is off for the test")
    reference = backends.IMPLEMENTATIONS["da_half_block", "reference"]
    monkeypatch.setattr(reference, "da_half_block", lambda *_: pytest.fail("it isn't the fastest"))
    block, x, v = example({})
    with torch.no_grad():
        expected = block(x, v)
        modulations = KernelsAndGates([block.da_conv1, block.da_conv2], torch.float32)(v)
        result = FoldedBlock(block, torch.float32, "auto", 1.0)(x.float(), v, iter(modulations))
    assert error(result.double(), expected) < 1e-5
