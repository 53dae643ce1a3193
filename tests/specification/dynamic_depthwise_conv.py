"""Specification of `dynamic_depthwise_conv`."""

from typing import Any

from tests.specification.specification import Case, Specification, call, elements


def _case(label: str, b: int, c: int, h: int, w: int, k: int = 3, **given: Any) -> Case:
    return call(label, {"x": (b, c, h, w), "kernel": (b, c, k, k)}, **given)


def _bytes_backward(case: Case, size: int) -> int:
    features = 3 + (case.options.get("negative_slope") is not None)
    return size * (features * elements(case, "x") + 2 * elements(case, "kernel"))


SPECIFICATION = Specification(
    op="dynamic_depthwise_conv",
    cases=(
        _case("small", 2, 8, 9, 7, negative_slope=0.1),
        _case("no activation", 1, 6, 5, 11),
        _case("1x1", 2, 5, 6, 4, k=1),
        _case("5x5", 2, 3, 8, 9, k=5, negative_slope=0.0),
        _case("7x7", 1, 4, 7, 10, k=7, negative_slope=0.2),
        _case("smaller than kernel", 2, 4, 1, 2, k=5, negative_slope=0.1),
        _case("one pixel", 3, 2, 1, 1, negative_slope=0.1),
        _case("medium", 2, 64, 37, 50, negative_slope=0.1),
        _case("no row", 2, 4, 0, 6, negative_slope=0.1),
        _case("no sample", 0, 4, 5, 6, negative_slope=0.1),
        _case("training", 32, 64, 48, 48, timed=True, negative_slope=0.1),
        _case("frame", 1, 64, 180, 320, timed=True, negative_slope=0.1),
    ),
    bytes_moved=lambda case, size: size * (2 * elements(case, "x") + elements(case, "kernel")),
    bytes_backward=_bytes_backward,
    operations=lambda case: 2 * elements(case, "x") * (case.tensors["kernel"] or (1,))[-1] ** 2,
)
