"""Specification of `da_half_block`."""

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
    middle: int | None = None,
    out: int | None = None,
    k: int = 3,
    biases: bool = True,
    gate: bool = True,
    residual: bool = False,
    timed: bool = False,
    **options: Any,
) -> Case:
    middle, out = middle or c, out or c
    tensors = {
        "x": (b, c, h, w),
        "kernel": (b, c, k, k),
        "weight": (middle, c),
        "bias": (middle,) if biases else None,
        "gate": (b, c) if gate else None,
        "conv_weight": (out, middle, 3, 3),
        "conv_bias": (out,) if biases else None,
        "residual": (b, out, h, w) if residual else None,
    }
    return Case(label, tensors, options, timed)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if name == "gate":
        return torch.sigmoid(values)
    if name == "weight":
        return values / shape[1] ** 0.5
    return values / (9 * shape[1]) ** 0.5 if name == "conv_weight" else values


def _operations(case: Case) -> int:
    pixels = elements(case, "x") // (case.tensors["x"] or (0, 1))[1]
    depthwise = 2 * elements(case, "x") * (case.tensors["kernel"] or (1,))[-1] ** 2
    gate = 0 if case.tensors["gate"] is None else 2 * elements(case, "x")
    return depthwise + gate + 2 * pixels * elements(case, "weight", "conv_weight") + elements(case, "residual")


def _outputs(case: Case) -> int:
    x, conv_weight = case.tensors["x"] or (0, 1), case.tensors["conv_weight"] or (1, 1)
    return elements(case, "x") // x[1] * conv_weight[0]


def _bytes_moved(case: Case, size: int) -> int:
    return size * (elements(case, *case.tensors) + _outputs(case))


def _bytes_backward(case: Case, size: int) -> int:
    """Features between the convolutions are computed again, with the bias."""
    results = (1 + case.options.get("activate", False)) * _outputs(case)
    both_ways = elements(case, "x", "kernel", "weight", "bias", "gate", "conv_weight")
    return size * (results + 2 * both_ways + elements(case, "conv_bias"))


SPECIFICATION = Specification(
    op="da_half_block",
    cases=(
        _case("small", 2, 8, 9, 7, activate=True),
        _case("residual", 2, 8, 5, 6, residual=True),
        _case("no gate", 1, 6, 4, 7, gate=False, activate=True),
        _case("no biases", 2, 4, 6, 5, biases=False, residual=True),
        _case("other channels", 2, 4, 5, 5, middle=7, out=3, gate=False, residual=True),
        _case("5x5, ReLU", 2, 6, 8, 9, k=5, negative_slope=0.0, activate=True),
        _case("one pixel", 3, 2, 1, 1, activate=True),
        _case("medium", 2, 64, 37, 50, activate=True),
        _case("medium, residual", 2, 64, 19, 30, residual=True),
        _case("64 channels, one pixel", 2, 64, 1, 1, residual=True),
        _case("no row", 2, 4, 0, 6, activate=True),
        _case("no sample", 0, 4, 5, 6, activate=True),
        _case("batch", 32, 64, 48, 48, activate=True, timed=True),
        _case("frame", 1, 64, 180, 320, residual=True, timed=True),
    ),
    draw=_draw,
    bytes_moved=_bytes_moved,
    bytes_backward=_bytes_backward,
    operations=_operations,
    # In 16 bits a feature between the convolutions that rounds to zero loses its sign: two of five million give 2e-3.
    gradients=3.0,
    general=False,
)
