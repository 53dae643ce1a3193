"""Specification of `da_conv`."""

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
    k: int = 3,
    bias: bool = True,
    gate: bool = True,
    timed: bool = False,
    **options: Any,
) -> Case:
    tensors = {
        "x": (b, c, h, w),
        "kernel": (b, c, k, k),
        "weight": (out or c, c),
        "bias": (out or c,) if bias else None,
        "gate": (b, c) if gate else None,
    }
    return Case(label, tensors, options, timed)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if name == "gate":
        return torch.sigmoid(values)
    return values / shape[1] ** 0.5 if name == "weight" else values


def _operations(case: Case) -> int:
    x, weight = elements(case, "x"), case.tensors["weight"] or (1, 1)
    kernel = (case.tensors["kernel"] or (1,))[-1]
    return x * (2 * kernel**2 + 2 * weight[0] + (0 if case.tensors["gate"] is None else 2))


def _outputs(case: Case) -> int:
    weight = case.tensors["weight"] or (1, 1)
    return elements(case, "x") // weight[1] * weight[0]


def _bytes_moved(case: Case, size: int) -> int:
    return size * (elements(case, *case.tensors) + _outputs(case))


def _bytes_backward(case: Case, size: int) -> int:
    results = (1 + case.options.get("activate", False)) * _outputs(case)
    return size * (results + 2 * elements(case, "x", "kernel", "weight", "gate") + elements(case, "bias"))


SPECIFICATION = Specification(
    op="da_conv",
    cases=(
        _case("small", 2, 8, 9, 7, activate=True),
        _case("no activation after", 2, 8, 5, 6),
        _case("no gate", 1, 6, 4, 7, gate=False, activate=True),
        _case("no bias", 2, 4, 6, 5, bias=False),
        _case("more channels out", 2, 4, 5, 5, out=7, gate=False),
        _case("5x5, ReLU", 2, 6, 8, 9, k=5, negative_slope=0.0, activate=True),
        _case("one pixel", 3, 2, 1, 1, activate=True),
        _case("medium", 2, 64, 37, 50, activate=True),
        _case("wide", 1, 180, 9, 20, activate=True),
        _case("no row", 2, 4, 0, 6, activate=True),
        _case("no sample", 0, 4, 5, 6, activate=True),
        _case("training", 32, 64, 48, 48, activate=True, timed=True),
        _case("frame", 1, 64, 180, 320, activate=True, timed=True),
    ),
    draw=_draw,
    bytes_moved=_bytes_moved,
    bytes_backward=_bytes_backward,
    operations=_operations,
)
