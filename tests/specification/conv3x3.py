"""Specification of `conv3x3`."""

from typing import Any

import torch
from torch import Tensor

from tests.specification.specification import Case, Specification, elements


def _case(
    label: str,
    b: int,
    c: int,
    h: int,
    w: int,
    *,
    out: int | None = None,
    bias: bool = True,
    residual: bool = False,
    timed: bool = False,
    **options: Any,
) -> Case:
    out = out or c
    tensors = {
        "x": (b, c, h, w),
        "weight": (out, c, 3, 3),
        "bias": (out,) if bias else None,
        "residual": (b, out, h, w) if residual else None,
    }
    return Case(label, tensors, options, timed)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    return values / (9 * shape[1]) ** 0.5 if name == "weight" else values


def _outputs(case: Case) -> int:
    x, weight = case.tensors["x"] or (0, 1), case.tensors["weight"] or (1,)
    return elements(case, "x") // x[1] * weight[0]


def _operations(case: Case) -> int:
    return 18 * _outputs(case) * (case.tensors["x"] or (0, 1))[1] + elements(case, "residual")


def _bytes_moved(case: Case, size: int) -> int:
    return size * (elements(case, *case.tensors) + _outputs(case))


def _bytes_backward(case: Case, size: int) -> int:
    results = (1 + (case.options.get("negative_slope") is not None)) * _outputs(case)
    return size * (results + 2 * elements(case, "x", "weight") + elements(case, "bias"))


SPECIFICATION = Specification(
    op="conv3x3",
    cases=(
        _case("small", 2, 16, 9, 7, residual=True),
        _case("activation", 2, 16, 9, 7, negative_slope=0.1),
        _case("few channels", 2, 8, 9, 7, negative_slope=0.1),
        _case("residual", 2, 8, 5, 6, residual=True),
        _case("ReLU, residual", 1, 6, 4, 7, residual=True, negative_slope=0.0),
        _case("no bias", 2, 4, 6, 5, bias=False),
        _case("colours to features", 2, 3, 11, 10, out=64),
        _case("features to colours", 1, 64, 10, 11, out=3),
        _case("one pixel", 3, 2, 1, 1, negative_slope=0.1),
        _case("one row", 2, 20, 1, 70, out=40, residual=True),
        _case("one column", 2, 16, 70, 1, negative_slope=0.2),
        _case("medium", 2, 64, 37, 50, negative_slope=0.1),
        _case("medium, residual", 2, 64, 19, 103, residual=True),
        _case("128 channels", 1, 128, 14, 21, out=100, negative_slope=0.1),
        _case("no row", 2, 4, 0, 6),
        _case("no sample", 0, 4, 5, 6, negative_slope=0.1),
        _case("batch", 32, 64, 48, 48, residual=True, timed=True),
        _case("frame", 1, 64, 180, 320, residual=True, timed=True),
    ),
    draw=_draw,
    bytes_moved=_bytes_moved,
    bytes_backward=_bytes_backward,
    operations=_operations,
    general=False,
)
