"""Specification of `channel_modulation`."""

import torch
from torch import Tensor

from tests.specification.specification import Case, Specification, elements


def _case(label: str, b: int, c: int, h: int, w: int, residual: bool = True, timed: bool = False) -> Case:
    x = (b, c, h, w)
    return Case(label, {"x": x, "gate": (b, c), "residual": x if residual else None}, timed=timed)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return torch.sigmoid(values) if name == "gate" else values


SPECIFICATION = Specification(
    op="channel_modulation",
    cases=(
        _case("small", 2, 8, 9, 7),
        _case("no residual", 2, 5, 3, 6, residual=False),
        _case("one pixel", 3, 2, 1, 1),
        _case("medium", 2, 64, 37, 50),
        _case("no row", 2, 4, 0, 6),
        _case("no sample", 0, 4, 5, 6),
        _case("training", 32, 64, 48, 48, timed=True),
        _case("frame", 1, 64, 180, 320, timed=True),
    ),
    draw=_draw,
    bytes_moved=lambda case, size: size * (2 * elements(case, "x") + elements(case, "gate", "residual")),
    bytes_backward=lambda case, size: size * (3 * elements(case, "x") + 2 * elements(case, "gate")),
    operations=lambda case: elements(case, "x") + elements(case, "residual"),
)
