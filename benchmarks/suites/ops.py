"""Suite `ops`: the timed cases of every op's specification, by every backend and by what people use instead."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.work import BASELINE, Call, Contender, Inputs, Settings, Work, channels_last, contiguous
from benchmarks.suites.alternatives import ALTERNATIVES, OTHER
from benchmarks.suites.variants import compiled
from dasr_fast import ops
from dasr_fast.ops.backends import BACKENDS, state
from dasr_fast.ops.checks import type_name
from tests.released import ops as released_ops
from tests.specification import SPECIFICATIONS, Case, Specification

GRADIENT_TOLERANCE = 10
"""How much larger the error of gradients may be: features that are rounded to another sign have another slope."""


def works(settings: Settings) -> Iterator[Work]:
    """Each timed case forward, and those of a batch backward too; the batch an eighth if quick.

    Ops for inference alone are on a GPU in float16, the others there in float32 and float16. The former's features are
    channels-last but for the baseline, which has them contiguous everywhere, as the released code has.
    """
    for specification in SPECIFICATIONS.values():
        for case in (case for case in specification.cases if case.timed):
            case = _smaller(case) if settings.quick else case
            dtypes = [torch.float32] if specification.general or settings.device == "cpu" else []
            for dtype in dtypes + ([torch.float16] if settings.device == "cuda" else []):
                yield _work(specification, case, dtype, settings, backward=False)
                if _trains(case):
                    yield _work(specification, case, dtype, settings, backward=True)


def _work(spec: Specification, case: Case, dtype: torch.dtype, settings: Settings, *, backward: bool) -> Work:
    """A case forward, or forward and backward."""
    public: Call = partial(getattr(ops, spec.op), **case.options)
    finish = _with_gradients if backward else lambda call: call
    size = "x".join(str(n) for n in next(iter(case.tensors.values())) or ())
    kind = type_name(dtype)
    label = f"{spec.op} {size}" + ("" if dtype == torch.float32 else f" {kind}")
    moved = spec.bytes_moved(case, dtype.itemsize) + (spec.bytes_backward(case, dtype.itemsize) if backward else 0)

    def inputs() -> Inputs:
        arguments = _arguments(spec, case, dtype, settings.device)
        tensors = tuple(arguments[name] for name in case.tensors)
        if not backward:
            return tensors
        result = public(*tensors)
        gradient = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        return (*tensors, torch.empty_like(result).copy_(gradient))  # In the result's memory format.

    def expected(*inputs: Any) -> Any:
        wide = (x.double() if isinstance(x, Tensor) else x for x in inputs)
        return finish(partial(public, backend="reference"))(*wide)

    return Work(
        "ops",
        f"{label}, forward + backward" if backward else label,
        inputs,
        _contenders(spec, case, dtype, settings, finish),
        expected,
        lambda kind: (GRADIENT_TOLERANCE if backward else 1) * settings.tolerance(kind),
        operations=lambda: (3 if backward else 1) * spec.operations(case),
        bytes_moved=moved,
    )


def _contenders(
    spec: Specification, case: Case, dtype: torch.dtype, settings: Settings, finish: Callable[[Call], Call]
) -> Mapping[str, Contender]:
    op, kind = spec.op, type_name(dtype)
    baseline: Call = partial(getattr(released_ops, op), **case.options)
    public: Call = partial(getattr(ops, op), **case.options)

    def contender(call: Call, **further: Any) -> Contender:
        return Contender(lambda: finish(call), dtype=kind, **further)

    def by_inductor(mode: str) -> Contender:
        return Contender(lambda: finish(compiled(baseline, mode)), dtype=kind)

    found = {BASELINE: contender(baseline, arrange=contiguous)}
    given = "" if spec.general else "channels-last "
    if not spec.general:
        found["released, channels-last"] = contender(baseline)
    elif op != "blur_downsample":
        found["released, channels-last"] = contender(baseline, arrange=channels_last)
        found["dasr-fast, channels-last"] = contender(public, arrange=channels_last)
    if not settings.quick:
        found[f"released, {given}compiled"] = by_inductor("default")
    if settings.everything or (settings.device == "cuda" and not settings.quick):
        found[f"released, {given}max-autotune"] = by_inductor("max-autotune-no-cudagraphs")
    for name, function in ALTERNATIVES.get(op, {}).items():
        found[name] = contender(partial(function, **case.options), other=OTHER.get(name, ""))
    found["dasr-fast"] = contender(public)
    usable = [backend for backend in BACKENDS if state(op, backend) is None]
    return found | {f"dasr-fast, {backend}": contender(partial(public, backend=backend)) for backend in usable}


def _with_gradients(function: Call) -> Call:
    """From the function's inputs and the gradient of its result to the gradients of the inputs."""

    def call(*inputs: Any) -> tuple[Tensor, ...]:
        *arguments, gradient = inputs
        with torch.enable_grad():
            arguments = [None if x is None else x.detach().requires_grad_() for x in arguments]
            result = function(*arguments)
            return torch.autograd.grad(result, [x for x in arguments if x is not None], gradient)

    return call


def _trains(case: Case) -> bool:
    shape = next(iter(case.tensors.values())) or (0,)
    return len(shape) == 4 and shape[0] > 1


def _arguments(specification: Specification, case: Case, dtype: torch.dtype, device: str) -> dict[str, Any]:
    """Tensors by name; for inference features and weights of convolutions are channels-last, filters never."""

    def laid_out(name: str, value: Any) -> Any:
        features = name != "kernel" and isinstance(value, Tensor) and value.dim() == 4
        return value.contiguous(memory_format=torch.channels_last) if features else value

    arguments = specification.arguments(case, dtype, device)
    if specification.general:
        return arguments
    return {name: laid_out(name, value) for name, value in arguments.items()}


def _smaller(case: Case) -> Case:
    def less(shape: tuple[int, ...] | None, batch: int) -> tuple[int, ...] | None:
        return (batch // 8, *shape[1:]) if shape and shape[0] == batch >= 8 else shape

    batch = (next(iter(case.tensors.values())) or (0,))[0]
    return Case(case.label, {name: less(shape, batch) for name, shape in case.tensors.items()}, case.options)
