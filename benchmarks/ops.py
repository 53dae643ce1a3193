"""Suite `ops`: the timed cases of every op's specification, by every backend that runs here."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import released
from benchmarks.timing import BASELINE, Work
from dasr_fast import ops
from dasr_fast.ops.backends import BACKENDS, BackendError
from dasr_fast.specification import SPECIFICATIONS, Case

ROUNDINGS = 5e-3
"""Largest relative error where every operation may round its result to float16."""


def works(device: str, quick: bool) -> Iterator[Work]:
    """Each timed case on `device`, in float32; the batch an eighth if `quick`.

    Ops for inference, whose kernels want that, are channels-last, and on a GPU in float16.
    """
    for op, specification in SPECIFICATIONS.items():
        for case in (case for case in specification.cases if case.timed):
            case = _smaller(case) if quick else case
            inference = not specification.general
            half = device == "cuda" and inference
            arguments = specification.arguments(case, torch.float16 if half else torch.float32, device)
            arguments = _channels_last(arguments) if inference else arguments
            public = getattr(ops, op)
            contenders: dict[str, Callable[[], Tensor]] = {BASELINE: partial(getattr(released, op), **arguments)}
            for backend in BACKENDS:
                contender = partial(public, **arguments, backend=backend)
                with suppress(BackendError):
                    contender()
                    contenders[backend] = contender
            size = "x".join(str(n) for n in next(iter(arguments.values())).shape)
            yield Work(
                "ops",
                f"{op} {size}{' float16' if half else ''}{' channels-last' if inference else ''}",
                contenders,
                partial(_expected, public, arguments),
                tolerance=ROUNDINGS if half else 1e-5,
                bytes_moved=specification.bytes_moved(case, 2 if half else 4),
                operations=specification.operations(case),
            )


def _channels_last(arguments: dict[str, Any]) -> dict[str, Any]:
    """The features and the weights of convolutions in that format; filters [B, C, k, k] and all else as they are."""

    def laid_out(name: str, value: Any) -> Any:
        features = name != "kernel" and isinstance(value, Tensor) and value.dim() == 4
        return value.contiguous(memory_format=torch.channels_last) if features else value

    return {name: laid_out(name, value) for name, value in arguments.items()}


def _smaller(case: Case) -> Case:
    def less(shape: tuple[int, ...] | None, batch: int) -> tuple[int, ...] | None:
        return (batch // 8, *shape[1:]) if shape and shape[0] == batch >= 8 else shape

    batch = (next(iter(case.tensors.values())) or (0,))[0]
    return Case(case.label, {name: less(shape, batch) for name, shape in case.tensors.items()}, case.options)


def _expected(public: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
    wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    return public(**wide, backend="reference").cpu()
