"""CUDA kernels of `channel_modulation`, emulated on the CPU, against float64."""

import pytest
import torch
from csrc.comparison import LAYOUTS, VARIANTS, distance, unwritten
from csrc.emulation import emulate

from dasr_fast.reference.channel_modulation import channel_modulation, channel_modulation_backward
from tests.specification import SPECIFICATIONS, Case

SPECIFICATION = SPECIFICATIONS["channel_modulation"]


def case(b: int, c: int, h: int, w: int) -> Case:
    return Case(f"{b}x{c}x{h}x{w}", {"x": (b, c, h, w), "gate": (b, c), "residual": (b, c, h, w)})


CASES = (
    *(case for case in SPECIFICATION.cases if not case.timed),
    case(2, 12, 5, 7),
    case(1, 16, 33, 31),
    case(1, 300, 3, 4),
    case(1, 2056, 1, 1),
)


@pytest.mark.parametrize(("dtype", "layout"), VARIANTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_agrees_with_float64(case: Case, dtype: torch.dtype, layout: str):
    arguments = SPECIFICATION.arguments(case, dtype)
    x, gate = LAYOUTS[layout](arguments["x"]), arguments["gate"]
    residual = None if arguments["residual"] is None else LAYOUTS[layout](arguments["residual"])
    y = unwritten(x)
    emulate("channel_modulation", x=x, gate=gate, residual=residual, y=y)
    wide = [None if tensor is None else tensor.double() for tensor in (x, gate, residual)]
    assert distance(y, channel_modulation(*wide)) <= SPECIFICATION.tolerance[dtype]


@pytest.mark.parametrize(("dtype", "layout"), VARIANTS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.label)
def test_gradients_agree_with_float64(case: Case, dtype: torch.dtype, layout: str):
    arguments = SPECIFICATION.arguments(case, dtype)
    x, gate = LAYOUTS[layout](arguments["x"]), arguments["gate"]
    grad = LAYOUTS[layout](torch.randn(x.shape, dtype=dtype))
    grad_x, grad_gate = unwritten(x), unwritten(gate)
    parts = 1 + x.shape[3] % 3
    workspace = torch.full((x.shape[0], parts, x.shape[1]), torch.nan)
    emulate(
        "channel_modulation_backward",
        **{"grad": grad, "x": x, "gate": gate, "grad_x": grad_x, "grad_gate": grad_gate, "workspace": workspace},
    )
    targets = channel_modulation_backward(grad.double(), x.double(), gate.double())
    assert distance(grad_x, targets[0]) <= 2 * SPECIFICATION.tolerance[dtype]
    assert distance(grad_gate, targets[1]) <= 2 * SPECIFICATION.tolerance[dtype]
