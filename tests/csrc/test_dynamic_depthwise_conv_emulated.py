"""CUDA kernels of `dynamic_depthwise_conv`, emulated on the CPU, against float64."""

import pytest
import torch
from csrc.comparison import LAYOUTS, VARIANTS, distance, unwritten
from csrc.emulation import emulate
from torch import Tensor

from dasr_fast.reference.dynamic_depthwise_conv import dynamic_depthwise_conv, dynamic_depthwise_conv_backward
from tests.specification import SPECIFICATIONS, Case

pytestmark = pytest.mark.slow  # Its kernels take a minute to compile with sanitizers.

SPECIFICATION = SPECIFICATIONS["dynamic_depthwise_conv"]


def case(b: int, c: int, h: int, w: int, k: int) -> Case:
    return Case(f"{b}x{c}x{h}x{w} {k}x{k}", {"x": (b, c, h, w), "kernel": (b, c, k, k)}, {"negative_slope": 0.1})


CASES = (
    *(case for case in SPECIFICATION.cases if not case.timed and case.label != "medium"),
    case(1, 4, 13, 9, 1),
    case(2, 12, 21, 12, 3),
    case(1, 6, 10, 30, 5),
    case(1, 3, 12, 8, 7),
    case(1, 260, 1, 2, 3),
)


def gradients(
    case: Case, dtype: torch.dtype, layout: str, parts: int, branch: bool = False
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Gradients for x and kernel, those in float64 behind."""
    arguments = SPECIFICATION.arguments(case, dtype)
    slope = arguments.get("negative_slope")
    x, kernel = LAYOUTS[layout](arguments["x"]), arguments["kernel"]
    grad, y = (LAYOUTS[layout](torch.randn(x.shape, dtype=dtype)) for _ in range(2))
    extra, gate = LAYOUTS[layout](torch.randn(x.shape, dtype=dtype)), torch.randn(x.shape[:2], dtype=dtype)
    grad_x, grad_kernel = unwritten(x), unwritten(kernel)
    emulate(
        "dynamic_depthwise_conv_backward",
        **{"grad": grad, "x": x, "kernel": kernel, "y": None if slope is None else y, "negative_slope": slope},
        **({"extra": extra, "gate": gate} if branch else {}),
        **{"grad_x": grad_x, "grad_kernel": grad_kernel},
        workspace=torch.full((x.shape[0], parts, *kernel.shape[1:]), torch.nan),
    )
    wide_x, wide_kernel = dynamic_depthwise_conv_backward(grad.double(), x.double(), kernel.double(), y.double(), slope)
    if branch:
        wide_x = wide_x + extra.double() * gate.double()[:, :, None, None]
    return (grad_x, grad_kernel), (wide_x, wide_kernel)


@pytest.mark.parametrize(("dtype", "layout"), VARIANTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_agrees_with_float64(case: Case, dtype: torch.dtype, layout: str):
    arguments = SPECIFICATION.arguments(case, dtype)
    slope = arguments.get("negative_slope")
    x, kernel = LAYOUTS[layout](arguments["x"]), arguments["kernel"]
    y = unwritten(x)
    # Strips are longer on a smaller GPU.
    multiprocessors = 1 if dtype == torch.float32 else 8
    emulate("dynamic_depthwise_conv", x=x, kernel=kernel, negative_slope=slope, y=y, multiprocessors=multiprocessors)
    target = dynamic_depthwise_conv(x.double(), kernel.double(), slope)
    assert distance(y, target) <= SPECIFICATION.tolerance[dtype]


@pytest.mark.parametrize(("dtype", "layout"), VARIANTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_gradients_agree_with_float64(case: Case, dtype: torch.dtype, layout: str):
    for result, target in zip(*gradients(case, dtype, layout, parts=2), strict=True):
        assert distance(result, target) <= 2 * SPECIFICATION.tolerance[dtype]


@pytest.mark.parametrize("parts", [1, 5])
@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
def test_gradients_of_two_branches(layout: str, parts: int):
    for result, target in zip(*gradients(CASES[0], torch.float16, layout, parts, branch=True), strict=True):
        assert distance(result, target) <= 2 * SPECIFICATION.tolerance[torch.float16]
