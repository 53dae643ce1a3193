"""Specification of `channel_modulation`."""

from typing import Any

from tests.specification.specification import Case, Specification, call, elements


def _case(label: str, b: int, c: int, h: int, w: int, **given: Any) -> Case:
    return call(label, {"x": (b, c, h, w), "gate": (b, c), "residual": (b, c, h, w)}, **given)


SPECIFICATION = Specification(
    op="channel_modulation",
    cases=(
        _case("small", 2, 8, 9, 7),
        _case("no residual", 2, 5, 3, 6, without=("residual",)),
        _case("one pixel", 3, 2, 1, 1),
        _case("medium", 2, 64, 37, 50),
        _case("no row", 2, 4, 0, 6),
        _case("no sample", 0, 4, 5, 6),
        _case("training", 32, 64, 48, 48, timed=True),
        _case("frame", 1, 64, 180, 320, timed=True),
    ),
    bytes_moved=lambda case, size: size * (2 * elements(case, "x") + elements(case, "gate", "residual")),
    bytes_backward=lambda case, size: size * (3 * elements(case, "x") + 2 * elements(case, "gate")),
    operations=lambda case: elements(case, "x") + elements(case, "residual"),
)
