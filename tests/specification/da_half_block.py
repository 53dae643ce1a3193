"""Specification of `da_half_block`."""

from typing import Any

from tests.specification.specification import Case, Specification, all_moved, call, elements, outputs


def _case(label: str, *size: int, m: int = 0, out: int = 0, k: int = 3, residual: bool = False, **given: Any) -> Case:
    b, c, h, w = size
    m, out = m or c, out or c
    shapes = {"x": (b, c, h, w), "kernel": (b, c, k, k), "weight": (m, c), "bias": (m,), "gate": (b, c)}
    convolution = {"conv_weight": (out, m, 3, 3), "conv_bias": (out,), "residual": (b, out, h, w) if residual else None}
    return call(label, {**shapes, **convolution}, **given)


def _operations(case: Case) -> int:
    pixels = elements(case, "x") // (case.tensors["x"] or (0, 1))[1]
    depthwise = 2 * elements(case, "x") * (case.tensors["kernel"] or (1,))[-1] ** 2
    gate = 0 if case.tensors["gate"] is None else 2 * elements(case, "x")
    return depthwise + gate + 2 * pixels * elements(case, "weight", "conv_weight") + elements(case, "residual")


def _bytes_backward(case: Case, size: int) -> int:
    """Features between the convolutions are computed again, with the bias."""
    results = (1 + case.options.get("activate", False)) * outputs(case, "conv_weight")
    both_ways = elements(case, "x", "kernel", "weight", "bias", "gate", "conv_weight")
    return size * (results + 2 * both_ways + elements(case, "conv_bias"))


SPECIFICATION = Specification(
    op="da_half_block",
    cases=(
        _case("small", 2, 8, 9, 7, activate=True),
        _case("residual", 2, 8, 5, 6, residual=True),
        _case("no gate", 1, 6, 4, 7, without=("gate",), activate=True),
        _case("no biases", 2, 4, 6, 5, without=("bias", "conv_bias"), residual=True),
        _case("other channels", 2, 4, 5, 5, m=7, out=3, without=("gate",), residual=True),
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
    bytes_moved=all_moved("conv_weight"),
    bytes_backward=_bytes_backward,
    operations=_operations,
    # In 16 bits a feature between the convolutions that rounds to zero loses its sign: two of five million give 2e-3.
    gradients=3.0,
    general=False,
)
