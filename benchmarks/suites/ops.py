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
                yield _forward(specification, case, dtype, settings)
                if _trains(case):
                    yield _backward(specification, case, dtype, settings)


def _forward(specification: Specification, case: Case, dtype: torch.dtype, settings: Settings) -> Work:
    names = list(case.tensors)
    public: Call = partial(getattr(ops, specification.op), **case.options)

    def expected(*inputs: Any) -> Tensor:
        return public(*_wide(inputs), backend="reference")

    return Work(
        "ops",
        _label(specification, case, dtype),
        lambda: tuple(_arguments(specification, case, dtype, settings.device)[name] for name in names),
        _contenders(specification, case, dtype, settings, lambda function: function),
        expected,
        settings.tolerance,
        operations=lambda: specification.operations(case),
        bytes_moved=specification.bytes_moved(case, dtype.itemsize),
    )


def _backward(specification: Specification, case: Case, dtype: torch.dtype, settings: Settings) -> Work:
    forward = _forward(specification, case, dtype, settings)
    reference = partial(getattr(ops, specification.op), **case.options, backend="reference")
    moved = (specification.bytes_moved, specification.bytes_backward)

    def inputs() -> Inputs:
        arguments = forward.inputs()
        result = partial(getattr(ops, specification.op), **case.options)(*arguments)
        gradient = torch.randn(result.shape, generator=torch.Generator().manual_seed(1))
        return (*arguments, torch.empty_like(result).copy_(gradient))  # In the result's memory format.

    return Work(
        "ops",
        f"{forward.label}, forward + backward",
        inputs,
        _contenders(specification, case, dtype, settings, _with_gradients),
        lambda *inputs: _with_gradients(reference)(*_wide(inputs)),
        lambda dtype: GRADIENT_TOLERANCE * settings.tolerance(dtype),
        operations=lambda: 3 * specification.operations(case),
        bytes_moved=sum(of_pass(case, dtype.itemsize) for of_pass in moved),
    )


def _contenders(
    specification: Specification,
    case: Case,
    dtype: torch.dtype,
    settings: Settings,
    finish: Callable[[Call], Call],
) -> Mapping[str, Contender]:
    op = specification.op
    kind = str(dtype).removeprefix("torch.")
    baseline: Call = partial(getattr(released_ops, op), **case.options)
    public: Call = partial(getattr(ops, op), **case.options)

    def contender(call: Call, arrange: Callable[[Inputs], Inputs] | None = None, other: str = "") -> Contender:
        return Contender(lambda: finish(call), arrange or (lambda inputs: inputs), kind, other)

    found = {BASELINE: contender(baseline, contiguous)}
    given = "" if specification.general else "channels-last "
    if not specification.general:
        found["released, channels-last"] = contender(baseline)
    elif op != "blur_downsample":
        found["released, channels-last"] = contender(baseline, channels_last)
        found["dasr-fast, channels-last"] = contender(public, channels_last)
    if not settings.quick:
        found[f"released, {given}compiled"] = Contender(lambda: finish(compiled(baseline)), dtype=kind)
    if _autotunes(settings):
        autotuned = "max-autotune-no-cudagraphs"
        found[f"released, {given}max-autotune"] = Contender(lambda: finish(compiled(baseline, autotuned)), dtype=kind)
    for name, function in ALTERNATIVES.get(op, {}).items():
        found[name] = contender(partial(function, **case.options), other=OTHER.get(name, ""))
    found["dasr-fast"] = contender(public)
    for backend in BACKENDS:
        if state(op, backend) is None:
            found[f"dasr-fast, {backend}"] = contender(partial(public, backend=backend))
    return found


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


def _autotunes(settings: Settings) -> bool:
    return settings.everything or (settings.device == "cuda" and not settings.quick)


def _label(specification: Specification, case: Case, dtype: torch.dtype) -> str:
    size = "x".join(str(n) for n in next(iter(case.tensors.values())) or ())
    kind = "" if dtype == torch.float32 else f" {str(dtype)[6:]}"
    return f"{specification.op} {size}{kind}"


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


def _wide(inputs: Inputs) -> Inputs:
    return tuple(x.double() if isinstance(x, Tensor) else x for x in inputs)
