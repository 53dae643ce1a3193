"""Products of bfloat16 in tiles: by the matrix unit, and by its counterpart in plain C++ on every other machine."""

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import printed
from torch import Tensor

from dasr_fast import ops
from dasr_fast.ops.backends import state

pytestmark = pytest.mark.skipif(state("conv3x3", "cpp") is not None, reason="no C++ kernels")


@pytest.fixture(autouse=True)
def _in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    from dasr_fast.compiled.cpp import support

    monkeypatch.setattr(support, "MATRIX_UNIT", True)


def draw(seed: int, *shapes: tuple[int, ...]) -> list[Tensor]:
    """Normal numbers in bfloat16; features channels-last."""
    generator = np.random.default_rng(seed)  # PyTorch's depends on the instruction set.
    tensors = (torch.from_numpy(generator.standard_normal(shape)) / 2 for shape in shapes)
    formats = (torch.channels_last if len(shape) == 4 else torch.contiguous_format for shape in shapes)
    given = zip(tensors, formats, strict=True)
    return [t.to(torch.bfloat16).to(memory_format=memory_format).requires_grad_() for t, memory_format in given]


def wide(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in tensors]


def check(y: Tensor, inputs: list[Tensor], target: Tensor, targets: list[Tensor]) -> None:
    """Results and gradients against float64: a rounding of bfloat16 (2^-9), and of what lies between."""
    grad = torch.randn(target.shape, generator=torch.Generator().manual_seed(1)).to(torch.bfloat16)
    results = [y, *torch.autograd.grad(y, inputs, grad)]
    wanted = [target, *torch.autograd.grad(target, targets, grad.double())]
    for result, exact in zip(results, wanted, strict=True):
        assert (result.double() - exact).norm() <= 0.005 * exact.norm() + 1e-6


shapes = given(
    b=st.integers(1, 2),
    c=st.integers(16, 70),
    out=st.integers(8, 70),
    h=st.integers(1, 20),
    w=st.integers(2, 70),  # One pixel isn't channels-last.
)


@settings(max_examples=20, deadline=None)
@shapes
def test_conv3x3(b: int, c: int, out: int, h: int, w: int):
    inputs = draw(h, (b, c, h, w), (out, c, 3, 3), (out,), (b, out, h, w))
    targets = wide(inputs)
    x, weight, bias, residual = targets
    target = F.conv2d(x, weight, bias, padding=1) + residual
    check(ops.conv3x3(*inputs, backend="cpp"), inputs, target, targets)


@settings(max_examples=20, deadline=None)
@shapes
def test_da_conv(b: int, c: int, out: int, h: int, w: int):
    inputs = draw(w, (b, c, h, w), (b, c, 3, 3), (out, c), (out,))
    targets = wide(inputs)
    x, kernel, weight, bias = targets
    filtered = F.conv2d(x.reshape(1, b * c, h, w), kernel.reshape(b * c, 1, 3, 3), padding=1, groups=b * c)
    target = F.conv2d(F.leaky_relu(filtered.view(b, c, h, w), 0.1), weight[..., None, None], bias)
    check(ops.da_conv(*inputs, None, backend="cpp"), inputs, target, targets)


@settings(max_examples=10, deadline=None)
@shapes
def test_da_half_block_is_its_two_parts(b: int, c: int, out: int, h: int, w: int):
    x, kernel, weight, bias, gate, conv_weight, conv_bias = (
        tensor.detach() for tensor in draw(c, (b, c, h, w), (b, c, 3, 3), (c, c), (c,), (b, c), (out, c, 3, 3), (out,))
    )
    half = ops.da_half_block(x, kernel, weight, bias, gate, conv_weight, conv_bias, backend="cpp")
    middle = ops.da_conv(x, kernel, weight, bias, gate, activate=True, backend="cpp")
    assert torch.equal(half, ops.conv3x3(middle, conv_weight, conv_bias, backend="cpp"))


def test_not_a_number_stays_where_it_is():
    x, weight = (tensor.detach() for tensor in draw(0, (1, 40, 9, 70), (24, 40, 3, 3)))
    x[0, 3, 4, 10] = torch.nan
    wrong = ops.conv3x3(x, weight, None, backend="cpp").isnan().any(1)[0]
    reached = torch.zeros(9, 70, dtype=torch.bool)
    reached[3:6, 9:12] = True
    assert torch.equal(wrong, reached)


def _digest() -> str:
    """Of a convolution's result and gradients, whose order of sums doesn't depend on the instruction set."""
    inputs = draw(0, (2, 40, 13, 70), (24, 40, 3, 3))
    y = ops.conv3x3(*inputs, None, backend="cpp")
    parts = [y, *torch.autograd.grad(y, inputs, torch.ones_like(y))]
    return hashlib.sha256(b"".join(part.detach().float().numpy().tobytes() for part in parts)).hexdigest()


@pytest.mark.parametrize(("instructions", "number"), [("default", 0), ("avx2", 1), ("avx512", 2)])
def test_same_bits_with_every_instruction_set(instructions: str, number: int):
    if number >= torch.ops.dasr_fast_cpp.instruction_set():
        pytest.skip("this processor hasn't got more")
    program = (
        "from dasr_fast.compiled.cpp import support; support.MATRIX_UNIT = True\n"
        "from compiled import test_tiles; print(test_tiles._digest())"
    )
    assert printed("-c", program, ATEN_CPU_CAPABILITY=instructions).strip() == _digest()
