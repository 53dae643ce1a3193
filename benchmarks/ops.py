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


def works(device: str, quick: bool) -> Iterator[Work]:
    """Each timed case, in float32 on `device`; the batch an eighth if `quick`."""
    for op, specification in SPECIFICATIONS.items():
        for case in (case for case in specification.cases if case.timed):
            case = _smaller(case) if quick else case
            arguments = specification.arguments(case, torch.float32, device)
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
                f"{op} {size}",
                contenders,
                partial(_expected, public, arguments),
                bytes_moved=specification.bytes_moved(case, 4),
                operations=specification.operations(case),
            )


def _smaller(case: Case) -> Case:
    def less(shape: tuple[int, ...] | None, batch: int) -> tuple[int, ...] | None:
        return (batch // 8, *shape[1:]) if shape and shape[0] == batch >= 8 else shape

    batch = (next(iter(case.tensors.values())) or (0,))[0]
    return Case(case.label, {name: less(shape, batch) for name, shape in case.tensors.items()}, case.options)


def _expected(public: Callable[..., Tensor], arguments: dict[str, Any]) -> Tensor:
    wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    return public(**wide, backend="reference").cpu()
