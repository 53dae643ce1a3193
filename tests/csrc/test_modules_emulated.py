"""Python modules that call the CUDA kernels: memory for results and sums, layouts and types, on an emulated GPU."""

from collections.abc import Callable

import pytest
import torch
from csrc.comparison import distance
from csrc.emulated_library import load
from torch import Tensor

from dasr_fast import reference
from dasr_fast.reference.channel_modulation import channel_modulation_backward
from dasr_fast.reference.dynamic_depthwise_conv import dynamic_depthwise_conv_backward
from dasr_fast.reference.layout import memory_format
from tests.specification import SPECIFICATIONS
from tests.specification.specification import TOLERANCE

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "sliced": lambda x: torch.nn.functional.pad(x, (1, 2), value=torch.nan)[..., 1:-2],
}
DTYPE = torch.float16


def draw(op: str, label: str, layout: str) -> tuple[dict[str, Tensor], Tensor]:
    """Arguments, and an upstream gradient of another layout."""
    specification = SPECIFICATIONS[op]
    case = next(case for case in specification.cases if case.label == label)
    arguments = specification.arguments(case, DTYPE)
    return {**arguments, "x": LAYOUTS[layout](arguments["x"])}, torch.randn(arguments["x"].shape, dtype=DTYPE)


def check(result: Tensor, target: Tensor, layout: torch.memory_format = torch.contiguous_format) -> None:
    assert result.dtype == DTYPE
    assert result.is_contiguous(memory_format=layout)
    assert distance(result, target) <= 2 * TOLERANCE[DTYPE]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("label", ["small", "medium", "no row", "no sample"])
def test_channel_modulation(label: str, layout: str):
    cuda = load("channel_modulation", seeds=1)
    arguments, grad = draw("channel_modulation", label, layout)
    x, gate, residual = arguments.values()
    wide = [tensor.double() for tensor in (x, gate, residual)]
    check(cuda.channel_modulation(x, gate, residual), reference.channel_modulation(*wide), memory_format(x))
    grad_x, grad_gate = cuda.channel_modulation_backward(grad, x, gate)
    targets = channel_modulation_backward(grad.double(), *wide[:2])
    check(grad_x, targets[0], memory_format(x))
    check(grad_gate, targets[1])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("label", ["small", "no activation", "medium", "no row", "no sample"])
def test_dynamic_depthwise_conv(label: str, layout: str):
    cuda = load("dynamic_depthwise_conv", seeds=1)
    arguments, grad = draw("dynamic_depthwise_conv", label, layout)
    x, kernel, slope = arguments["x"], arguments["kernel"], arguments.get("negative_slope")
    y = cuda.dynamic_depthwise_conv(x, kernel, slope)
    check(y, reference.dynamic_depthwise_conv(x.double(), kernel.double(), slope), memory_format(x))
    grad_x, grad_kernel = cuda.dynamic_depthwise_conv_backward(grad, x, kernel, y, slope)
    targets = dynamic_depthwise_conv_backward(grad.double(), x.double(), kernel.double(), y, slope)
    check(grad_x, targets[0], memory_format(x))
    check(grad_kernel, targets[1])


def test_float64_is_refused():
    x, gate = torch.zeros(1, 2, 3, 3, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    assert load("channel_modulation").unsupported(x, gate, None) == "it computes in float32, and x is float64"
    assert load("channel_modulation").unsupported(x.float(), gate.float(), None) is None
