"""CUDA kernels of `da_conv`, emulated on the CPU, against float64."""

from typing import Any

import pytest
import torch
from csrc.comparison import LAYOUTS, VARIANTS, distance, unwritten
from csrc.emulation import EmulationError, emulate
from torch import Tensor

from dasr_fast.compiled.cuda import shared_memory
from dasr_fast.reference.da_conv import da_conv
from dasr_fast.reference.dynamic_depthwise_conv import dynamic_depthwise_conv, leaky_relu_backward
from tests.specification import SPECIFICATIONS, Case

pytestmark = pytest.mark.slow  # Its kernels take a minute to compile with sanitizers.

SPECIFICATION = SPECIFICATIONS["da_conv"]


def case(b: int, c: int, h: int, w: int, *, out: int | None = None, k: int = 3, gate: bool = True) -> Case:
    tensors = {
        "x": (b, c, h, w),
        "kernel": (b, c, k, k),
        "weight": (out or c, c),
        "bias": (out or c,),
        "gate": (b, c) if gate else None,
    }
    return Case(f"{b}x{c}x{h}x{w} to {out or c}, {k}x{k}", tensors, {"activate": h % 2 == 1})


SMALL = tuple(case for case in SPECIFICATION.cases if not case.timed and case.label not in ("medium", "wide"))
CASES = (
    *SMALL,
    case(1, 64, 9, 17),
    case(2, 16, 5, 24),
    case(1, 33, 7, 5, k=7),
    case(1, 5, 3, 19, k=1),
)
LARGE = (case(1, 136, 4, 8), case(1, 72, 3, 16, out=40, k=5, gate=False), case(1, 40, 3, 5, out=130, gate=False))


def laid_out(case: Case, dtype: torch.dtype, layout: str) -> tuple[dict[str, Any], float, bool]:
    """Tensors of a case, dense as the layout says, the slope, and whether a LeakyReLU ends the op."""
    arguments = SPECIFICATION.arguments(case, dtype)
    slope, activate = arguments.pop("negative_slope", 0.1), arguments.pop("activate", False)
    return {**arguments, "x": LAYOUTS[layout](arguments["x"])}, slope, activate


def like(x: Tensor, channels: int, layout: str) -> Tensor:
    """Features with other channels, unwritten."""
    b, _, h, w = x.shape
    return unwritten(LAYOUTS[layout](torch.empty(b, channels, h, w, dtype=x.dtype)))


def check_forward(case: Case, dtype: torch.dtype, layout: str, **options: int) -> None:
    tensors, slope, activate = laid_out(case, dtype, layout)
    y = like(tensors["x"], len(tensors["weight"]), layout)
    emulate("da_conv", **tensors, negative_slope=slope, activate=activate, y=y, seeds=2, **options)
    wide = [None if tensor is None else tensor.double() for tensor in tensors.values()]
    assert distance(y, da_conv(*wide, slope, activate)) <= SPECIFICATION.tolerance[dtype]


def check_backward(case: Case, dtype: torch.dtype, layout: str, parts: int, **options: int) -> None:
    tensors, slope, activate = laid_out(case, dtype, layout)
    x, kernel, weight, _, gate = tensors.values()
    (b, c, _, _), out = x.shape, len(weight)
    grad = LAYOUTS[layout](torch.randn(like(x, out, layout).shape, dtype=dtype))
    y = LAYOUTS[layout](torch.randn(grad.shape, dtype=dtype)) if activate else None
    results = {
        "grad_filtered": unwritten(x),
        "grad_activated": unwritten(grad) if activate else None,
        "grad_weight": unwritten(weight),
        "grad_bias": unwritten(weight[:, 0].contiguous()),
        "grad_gate": None if gate is None else unwritten(gate),
    }
    workspaces = {
        "weight_parts": torch.full((b, parts, out, c), torch.nan),
        "bias_parts": torch.full((b, parts, out), torch.nan),
        "gate_parts": None if gate is None else torch.full((b, parts, c), torch.nan),
    }
    emulate(
        "da_conv_pointwise_backward",
        **{"x": x, "kernel": kernel, "weight": weight, "grad": grad, "y": y, "negative_slope": slope, "seeds": 2},
        **results,
        **workspaces,
        **options,
    )
    # What the kernel gives, from its own definition; the rest is the depthwise convolution's backward pass.
    wide_x, wide_grad = x.double(), grad.double()
    activated = wide_grad if y is None else leaky_relu_backward(wide_grad, y, slope)
    filtered = dynamic_depthwise_conv(wide_x, kernel.double(), slope)
    targets = {
        "grad_filtered": leaky_relu_backward(
            torch.einsum("oc,bohw->bchw", weight.double(), activated), filtered, slope
        ),
        "grad_activated": activated,
        "grad_weight": torch.einsum("bohw,bchw->oc", activated, filtered),
        "grad_bias": activated.sum((0, 2, 3)),
        "grad_gate": None if gate is None else (activated * wide_x).sum((2, 3)),
    }
    for name, result in results.items():
        if result is not None:
            assert distance(result, targets[name]) <= 2 * SPECIFICATION.tolerance[dtype], name


@pytest.mark.parametrize(("dtype", "layout"), VARIANTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_agrees_with_float64(case: Case, dtype: torch.dtype, layout: str):
    check_forward(case, dtype, layout)


@pytest.mark.parametrize(("dtype", "layout"), VARIANTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_gradients_agree_with_float64(case: Case, dtype: torch.dtype, layout: str):
    check_backward(case, dtype, layout, parts=2)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("case", LARGE, ids=lambda case: case.label)
def test_many_channels(case: Case, dtype: torch.dtype):
    check_forward(case, dtype, "channels-last")
    check_backward(case, dtype, "channels-last", parts=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("channels", "out", "k"), [(64, 64, 3), (8, 8, 7), (70, 9, 1), (9, 70, 5)])
def test_shared_memory_is_what_is_said(channels: int, out: int, k: int, dtype: torch.dtype):
    needed = shared_memory.of_da_conv(channels, out, k, dtype.itemsize)
    needs = case(1, channels, 2, 3, out=out, k=k, gate=False)
    check_forward(needs, dtype, "channels-last", most_shared_memory=needed)
    check_backward(needs, dtype, "channels-last", parts=1, most_shared_memory=needed)
    with pytest.raises(EmulationError, match="more shared memory than there is"):  # noqa: PT012
        check_forward(needs, dtype, "channels-last", most_shared_memory=needed - 1)
        check_backward(needs, dtype, "channels-last", parts=1, most_shared_memory=needed - 1)
