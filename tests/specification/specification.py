"""What tests and benchmarks know about an op: inputs to try, accuracy to expect, bytes and operations it takes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 1e-3, torch.bfloat16: 8e-3}
"""Largest `||result - expected|| / ||expected||` of a result that was accumulated in float32 (float64 for float64)."""


@dataclass(frozen=True)
class Case:
    """One call of an op.

    Attributes:
        label: Name in tests and benchmarks.
        tensors: Shape of each tensor argument by name, in the op's order; None for one that is left out.
        options: The other arguments.
        timed: Whether benchmarks time it.
    """

    label: str
    tensors: Mapping[str, tuple[int, ...] | None]
    options: Mapping[str, Any] = field(default_factory=dict)
    timed: bool = False


Shapes = Mapping[str, tuple[int, ...] | None]


def call(label: str, shapes: Shapes, *, without: tuple[str, ...] = (), timed: bool = False, **o: Any) -> Case:
    """A case with the options `o`, and without some of the tensors."""
    return Case(label, {name: None if name in without else shape for name, shape in shapes.items()}, o, timed)


def normal(name: str, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Normal numbers; weights that keep the magnitude of features, gates from 0 to 1."""
    values = torch.randn(shape, generator=generator, dtype=torch.float64)
    if name == "gate":
        return torch.sigmoid(values)
    return values / torch.Size(shape[1:]).numel() ** 0.5 if name.endswith("weight") else values


@dataclass(frozen=True)
class Specification:
    """An op's cases and what they cost.

    Attributes:
        op: Name of the op.
        cases: Calls that every backend must get right; the timed ones are those that matter.
        bytes_moved: Fewest bytes that the forward pass of a case can move, from the case and the element size.
        bytes_backward: The same of the backward pass, which makes all gradients. It reads the result's gradient, the
            result for its sign if a LeakyReLU comes last, and the inputs that gradients depend on; a residual's
            gradient is the result's.
        operations: Multiplications and additions of the forward pass of a case.
        draw: Values of a tensor argument, from its name, shape and a generator, in float64.
        tolerance: Largest relative error (Euclidean) against float64, by type.
        gradients: Largest relative error of gradients, in tolerances.
        general: Whether every backend computes every case in float32, float16 and bfloat16, or else may refuse some.
    """

    op: str
    cases: tuple[Case, ...]
    bytes_moved: Callable[[Case, int], int]
    bytes_backward: Callable[[Case, int], int]
    operations: Callable[[Case], int]
    draw: Callable[[str, tuple[int, ...], torch.Generator], Tensor] = normal
    tolerance: Mapping[torch.dtype, float] = field(default_factory=lambda: dict(TOLERANCE))
    gradients: float = 2.0
    general: bool = True

    def arguments(
        self, case: Case, dtype: torch.dtype = torch.float64, device: str = "cpu", seed: int = 0
    ) -> dict[str, Any]:
        """Keyword arguments for the op: seeded tensors of `dtype` on `device`, and the options."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {
            name: None if shape is None else self.draw(name, shape, generator).to(device, dtype)
            for name, shape in case.tensors.items()
        }
        return {**tensors, **case.options}


def backends_on_cpu(op: str) -> list[str]:
    """Names of those that compute an op on this machine's CPU."""
    on_cpu = [name for name, backend in BACKENDS.items() if backend.device in (None, "cpu")]
    return [name for name in on_cpu if not isinstance(IMPLEMENTATIONS[op, name], str)]


def distance(result: Tensor, target: Tensor) -> float:
    """Relative error of a finite result, in the Euclidean norm."""
    assert result.shape == target.shape
    result = result.detach().cpu().double()
    assert torch.isfinite(result).all()
    return ((result - target).norm() / target.norm().clamp(min=1e-30)).item()


def elements(case: Case, *names: str) -> int:
    """Number of elements of these tensor arguments together."""
    return sum(torch.Size(case.tensors[name] or (0,)).numel() for name in names)


def outputs(case: Case, weight: str = "weight") -> int:
    """Number of elements of a result whose channels are as many as that weight has rows."""
    return elements(case, "x") // (case.tensors["x"] or (0, 1))[1] * (case.tensors[weight] or (1,))[0]


def all_moved(weight: str = "weight") -> Callable[[Case, int], int]:
    """Bytes of all tensors and of such a result."""
    return lambda case, size: size * (elements(case, *case.tensors) + outputs(case, weight))
