"""Specification of `blur_downsample`."""

from typing import Any

import torch
from torch import Tensor

from tests.specification.specification import TOLERANCE, Case, Specification, distance, elements

STENCIL = {("bicubic", 1): 0, ("bicubic", 2): 7, ("bicubic", 3): 10, ("bicubic", 4): 15}
"""By how much the bicubic taps enlarge the blur kernel, where both are one stencil."""


def _case(label: str, hr: tuple[int, ...], kernel: tuple[int, int], scale: int, timed: bool = False, **o: Any) -> Case:
    return Case(label, {"hr": hr, "kernel": (hr[0], *kernel)}, {"scale": scale, **o}, timed)


def _draw(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    values = torch.rand(shape, generator=generator, dtype=torch.float64)
    return values / values.sum((-2, -1), keepdim=True) if name == "kernel" else (values * 255).round()


def check_noisy(y: Tensor, noisy: Tensor, *, quantize: bool) -> None:
    """Assert that `y` is `noisy`, which is in float64, or that in whole grey levels."""
    if not quantize:
        assert distance(y, noisy) <= TOLERANCE[torch.float32]
        return
    assert (noisy < 0).any()
    assert (noisy > 255).any()
    settled = (noisy - noisy.floor() - 0.5).abs() > 1e-3
    assert torch.equal(y[settled].double(), noisy.round().clamp(0, 255)[settled])
    assert torch.equal(y, y.round())


def _outputs(case: Case) -> int:
    return elements(case, "hr") // case.options["scale"] ** 2


def _operations(case: Case) -> int:
    scale, mode = case.options["scale"], case.options.get("mode", "bicubic")
    _, kh, kw = case.tensors["kernel"] or (0, 0, 0)
    grown = STENCIL.get((mode, scale), 0)
    return 2 * _outputs(case) * (kh + grown) * (kw + grown)


SPECIFICATION = Specification(
    op="blur_downsample",
    cases=(
        _case("x2", (2, 2, 1, 16, 12), (5, 5), 2),
        _case("x3, odd size", (1, 2, 1, 19, 23), (7, 7), 3),
        _case("x4, four dimensions", (1, 3, 24, 20), (9, 9), 4),
        _case("blur only", (2, 1, 1, 9, 8), (5, 5), 1),
        _case("even kernel", (1, 1, 2, 13, 15), (4, 6), 2),
        _case("s-fold", (2, 2, 1, 17, 14), (5, 5), 4, mode="s-fold"),
        _case("s-fold, x3", (1, 1, 3, 11, 12), (3, 3), 3, mode="s-fold"),
        _case("one LR pixel", (2, 1, 3, 4, 4), (3, 3), 4),
        _case("medium", (1, 1, 2, 70, 53), (21, 21), 4),
        _case("no sample", (0, 2, 3, 16, 16), (5, 5), 4),
        _case("training", (32, 2, 3, 192, 192), (21, 21), 4, timed=True),
    ),
    draw=_draw,
    bytes_moved=lambda case, size: size * (elements(case, "hr", "kernel") + _outputs(case)),
    bytes_backward=lambda case, size: size * (2 * elements(case, "hr", "kernel") + _outputs(case)),
    operations=_operations,
)
