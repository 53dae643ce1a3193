"""The CUDA kernel of `da_half_block`, emulated on the CPU, against float64."""

import pytest
import torch
from csrc.comparison import distance, unwritten
from csrc.emulation import EmulationError, emulate
from torch import Tensor

from dasr_fast.compiled.cuda import shared_memory
from dasr_fast.reference import da_half_block
from tests.specification import SPECIFICATIONS

pytestmark = pytest.mark.slow  # Its kernels take a minute to compile with sanitizers.

SPECIFICATION = SPECIFICATIONS["da_half_block"]
DTYPES = (torch.float16, torch.bfloat16)


def inputs(dtype: torch.dtype, b: int, h: int, w: int) -> dict[str, Tensor | None]:
    generator = torch.Generator().manual_seed(h * w)
    shapes = {
        "x": (b, 64, h, w),
        "kernel": (b, 64, 3, 3),
        "weight": (64, 64),
        "bias": (64,),
        "gate": (b, 64),
        "conv_weight": (64, 64, 3, 3),
        "conv_bias": (64,),
        "residual": (b, 64, h, w),
    }
    tensors = {name: SPECIFICATION.draw(name, shape, generator).to(dtype) for name, shape in shapes.items()}
    for name in ("x", "conv_weight", "residual"):
        tensors[name] = tensors[name].contiguous(memory_format=torch.channels_last)
    return tensors


def check(tensors: dict[str, Tensor | None], *, slope: float = 0.1, activate: bool = True, **options: int) -> None:
    x = tensors["x"]
    y = unwritten(x)
    emulate("da_half_block", **tensors, y=y, negative_slope=slope, activate=activate, **options)
    wide = [None if tensor is None else tensor.double() for tensor in tensors.values()]
    assert distance(y, da_half_block(*wide, slope, activate)) <= SPECIFICATION.tolerance[x.dtype]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rows", [4, 6, 10, 12])
def test_agrees_with_float64(rows: int, dtype: torch.dtype):
    check(inputs(dtype, 2, 15, 21), rows=rows, multiprocessors=3)


@pytest.mark.parametrize(("h", "w"), [(1, 1), (4, 16), (5, 17), (2, 40), (25, 3)])
def test_any_size(h: int, w: int):
    check(inputs(torch.float16, 1, h, w), rows=4, multiprocessors=2)


@pytest.mark.parametrize("left_out", ["bias", "gate", "conv_bias", "residual"])
def test_what_is_left_out_is_zero(left_out: str):
    check({**inputs(torch.float16, 1, 5, 7), left_out: None}, rows=4)


@pytest.mark.parametrize("slope", [0.0, 1.0])
@pytest.mark.parametrize("activate", [False, True])
def test_activation(activate: bool, slope: float):
    check(inputs(torch.bfloat16, 1, 5, 7), activate=activate, slope=slope, rows=4)


def test_tiles_are_chosen_to_fit():
    check(inputs(torch.float16, 3, 13, 33), multiprocessors=2)
    check(inputs(torch.float16, 1, 9, 18), most_shared_memory=shared_memory.DA_HALF_BLOCK)
    with pytest.raises(EmulationError, match="too little shared memory"):
        check(inputs(torch.float16, 1, 9, 18), most_shared_memory=shared_memory.DA_HALF_BLOCK - 1)


def test_no_sample():
    check(inputs(torch.float16, 0, 4, 5))
