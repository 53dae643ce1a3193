"""Specification of `conv3x3`."""

from typing import Any

from tests.specification.specification import Case, Specification, all_moved, call, elements, outputs


def _case(label: str, b: int, c: int, h: int, w: int, *, out: int = 0, residual: bool = False, **given: Any) -> Case:
    out = out or c
    shapes = {"x": (b, c, h, w), "weight": (out, c, 3, 3), "bias": (out,)}
    return call(label, {**shapes, "residual": (b, out, h, w) if residual else None}, **given)


def _operations(case: Case) -> int:
    return 18 * outputs(case) * (case.tensors["x"] or (0, 1))[1] + elements(case, "residual")


def _bytes_backward(case: Case, size: int) -> int:
    results = (1 + (case.options.get("negative_slope") is not None)) * outputs(case)
    return size * (results + 2 * elements(case, "x", "weight") + elements(case, "bias"))


SPECIFICATION = Specification(
    op="conv3x3",
    cases=(
        _case("small", 2, 16, 9, 7, residual=True),
        _case("activation", 2, 16, 9, 7, negative_slope=0.1),
        _case("few channels", 2, 8, 9, 7, negative_slope=0.1),
        _case("residual", 2, 8, 5, 6, residual=True),
        _case("ReLU, residual", 1, 6, 4, 7, residual=True, negative_slope=0.0),
        _case("no bias", 2, 4, 6, 5, without=("bias",)),
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
    bytes_moved=all_moved(),
    bytes_backward=_bytes_backward,
    operations=_operations,
    general=False,
)
