"""Specification of `da_conv`."""

from typing import Any

from tests.specification.specification import Case, Specification, all_moved, call, elements, outputs


def _case(label: str, b: int, c: int, h: int, w: int, *, out: int = 0, k: int = 3, **given: Any) -> Case:
    out = out or c
    shapes = {"x": (b, c, h, w), "kernel": (b, c, k, k), "weight": (out, c), "bias": (out,), "gate": (b, c)}
    return call(label, shapes, **given)


def _operations(case: Case) -> int:
    x, weight = elements(case, "x"), case.tensors["weight"] or (1, 1)
    kernel = (case.tensors["kernel"] or (1,))[-1]
    return x * (2 * kernel**2 + 2 * weight[0] + (0 if case.tensors["gate"] is None else 2))


def _bytes_backward(case: Case, size: int) -> int:
    results = (1 + case.options.get("activate", False)) * outputs(case)
    return size * (results + 2 * elements(case, "x", "kernel", "weight", "gate") + elements(case, "bias"))


SPECIFICATION = Specification(
    op="da_conv",
    cases=(
        _case("small", 2, 8, 9, 7, activate=True),
        _case("no activation after", 2, 8, 5, 6),
        _case("no gate", 1, 6, 4, 7, without=("gate",), activate=True),
        _case("no bias", 2, 4, 6, 5, without=("bias",)),
        _case("more channels out", 2, 4, 5, 5, out=7, without=("gate",)),
        _case("5x5, ReLU", 2, 6, 8, 9, k=5, negative_slope=0.0, activate=True),
        _case("one pixel", 3, 2, 1, 1, activate=True),
        _case("medium", 2, 64, 37, 50, activate=True),
        _case("wide", 1, 180, 9, 20, activate=True),
        _case("no row", 2, 4, 0, 6, activate=True),
        _case("no sample", 0, 4, 5, 6, activate=True),
        _case("training", 32, 64, 48, 48, activate=True, timed=True),
        _case("frame", 1, 64, 180, 320, activate=True, timed=True),
    ),
    bytes_moved=all_moved(),
    bytes_backward=_bytes_backward,
    operations=_operations,
)
