"""The CUDA backend's Python modules of `da_conv` and `da_half_block` on the CPU: their raw ops are emulated."""

from typing import Any

import pytest
import torch
from csrc.comparison import distance
from csrc.emulated_library import load

from dasr_fast import reference
from dasr_fast.reference.da_conv import da_conv_backward
from tests.specification import SPECIFICATIONS, Case

pytestmark = pytest.mark.slow  # Its kernels take a minute to compile with sanitizers.

CHANNELS_LAST = torch.channels_last


def arguments_of(op: str, case: Case, dtype: torch.dtype, layout: torch.memory_format) -> tuple[list[Any], float, bool]:
    """Tensors, slope, and whether a LeakyReLU ends the op."""
    arguments = SPECIFICATIONS[op].arguments(case, dtype)
    slope, activate = arguments.pop("negative_slope", 0.1), arguments.pop("activate", False)
    return [arguments.pop("x").contiguous(memory_format=layout), *arguments.values()], slope, activate


def wide(tensors: list[Any]) -> list[Any]:
    return [None if tensor is None else tensor.double() for tensor in tensors]


@pytest.mark.parametrize("layout", [torch.contiguous_format, CHANNELS_LAST], ids=str)
@pytest.mark.parametrize(
    "label", ["small", "no activation after", "more channels out", "5x5, ReLU", "no row", "no sample"]
)
def test_da_conv(label: str, layout: torch.memory_format):
    case = next(case for case in SPECIFICATIONS["da_conv"].cases if case.label == label)
    tensors, slope, activate = arguments_of("da_conv", case, torch.float32, layout)
    cuda = load("da_conv", seeds=1)
    assert cuda.unsupported(*tensors, slope, activate) is None
    y = cuda.da_conv(*tensors, slope, activate)
    assert y.numel() == 0 or y.is_contiguous(memory_format=layout)
    assert distance(y, reference.da_conv(*wide(tensors), slope, activate)) <= 2e-6
    x, kernel, weight, _, gate = tensors
    gradient_arguments = [torch.randn_like(y), x, kernel, weight, gate, y if activate else None]
    results = cuda.da_conv_backward(*gradient_arguments, slope)
    for result, target in zip(results, da_conv_backward(*wide(gradient_arguments), slope), strict=True):
        assert distance(result, target) <= 4e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_da_half_block(dtype: torch.dtype):
    case = next(case for case in SPECIFICATIONS["da_half_block"].cases if case.label == "medium, residual")
    tensors, slope, activate = arguments_of("da_half_block", case, dtype, CHANNELS_LAST)
    cuda = load("da_half_block", seeds=1)
    assert cuda.unsupported(*tensors, slope, activate) is None
    y = cuda.da_half_block(*tensors, slope, activate)
    assert y.is_contiguous(memory_format=CHANNELS_LAST)
    limit = SPECIFICATIONS["da_half_block"].tolerance[dtype]
    assert distance(y, reference.da_half_block(*wide(tensors), slope, activate)) <= limit


@pytest.mark.parametrize(
    ("label", "dtype", "layout", "reason"),
    [
        ("medium", torch.float32, CHANNELS_LAST, "float16 and bfloat16, and x is float32"),
        ("medium", torch.float16, torch.contiguous_format, "channels-last features"),
        ("small", torch.float16, CHANNELS_LAST, "64 channels everywhere, and there are 8, 8 and 8"),
        ("5x5, ReLU", torch.float16, CHANNELS_LAST, "64 channels everywhere"),
    ],
)
def test_da_half_block_says_what_it_can_not(label: str, dtype: torch.dtype, layout: torch.memory_format, reason: str):
    case = next(case for case in SPECIFICATIONS["da_half_block"].cases if case.label == label)
    tensors, slope, activate = arguments_of("da_half_block", case, dtype, layout)
    assert reason in load("da_half_block").unsupported(*tensors, slope, activate)
