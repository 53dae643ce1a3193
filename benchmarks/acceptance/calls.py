"""Every kernel once, forward and backward: for tools that watch a program's kernels."""

import argparse
import math
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.ops.backends import BACKENDS, BackendError, state
from dasr_fast.ops.gaussian_kernel import gaussian_kernel
from tests.specification import SPECIFICATIONS, Case

DTYPES = (torch.float32, torch.float16)
SMALL = ("medium", "medium, residual", "x3, odd size", "s-fold")
"""Labels of cases besides the first that are small, and still more than one tile."""


def calls(device: str, *, timed: bool) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Names and calls: of the timed cases, or of small ones."""
    for op, backend, case in cases(device, timed):
        features = next(iter(case.tensors)) == "x"
        for dtype in DTYPES if features else (torch.float32, torch.uint8):
            for layout in (torch.contiguous_format, torch.channels_last) if features else (torch.contiguous_format,):
                arguments = partial(prepared, op, case, dtype, layout, device)
                name = f"{op}, {backend}, {case.label}, {str(dtype)[6:]}, {str(layout)[6:]}"
                yield name, partial(both_ways, op, backend, arguments)
    for backend in backends("gaussian_kernel", device):
        width = torch.rand(5, device=device) + 0.5
        yield f"gaussian_kernel, {backend}", partial(gaussian_kernel, width, 2 * width, width, 21, backend=backend)


def cases(device: str, timed: bool) -> Iterator[tuple[str, str, Case]]:
    """Ops, backends and cases; backend by backend, in their order of preference."""
    for backend in BACKENDS:
        for op, specification in SPECIFICATIONS.items():
            small = [specification.cases[0], *(case for case in specification.cases if case.label in SMALL)]
            if backend not in backends(op, device):
                continue
            for case in [case for case in specification.cases if case.timed] if timed else small:
                yield op, backend, case


def backends(op: str, device: str) -> list[str]:
    """Those with kernels for the device."""
    return [name for name, one in BACKENDS.items() if one.device == device and state(op, name) is None]


def prepared(op: str, case: Case, dtype: torch.dtype, layout: torch.memory_format, device: str) -> dict[str, Any]:
    """Arguments; features in the layout, and whole numbers only for images."""
    arguments = SPECIFICATIONS[op].arguments(case, torch.float32, device)
    first = next(iter(arguments))
    others = dtype if dtype.is_floating_point else torch.float32

    def typed(name: str, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.to(dtype if name == first else others)
        return value.contiguous(memory_format=layout) if name in ("x", "residual") else value

    return {name: typed(name, value) for name, value in arguments.items()}


def both_ways(op: str, backend: str, prepare: Callable[[], dict[str, Any]]) -> None:
    """The op and its gradients, if the backend computes it."""
    arguments = prepare()
    floating = [t.requires_grad_() for t in arguments.values() if isinstance(t, Tensor) and t.is_floating_point()]
    try:
        y = getattr(ops, op)(**arguments, backend=backend)
    except BackendError:
        return
    torch.autograd.grad(y, floating, torch.ones_like(y))


def made(text: str) -> str:
    """How many calls were made, from what this program said, among what a tool that watches it said."""
    if found := re.search(r"^Made (\d+ of \d+ calls)\.$", text, re.MULTILINE):
        return found[1]
    return f"{sum(not line.startswith('=') for line in text.splitlines())} calls"


def main() -> None:
    """Make all calls once, or as many as there is time for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True)
    parser.add_argument("--timed", action="store_true", help="in the sizes of the benchmarks")
    parser.add_argument("--end", type=float, default=math.inf, help="when to end, as time.monotonic tells")
    given = parser.parse_args()
    every, count = list(calls(given.device, timed=given.timed)), 0
    for name, call in every:
        if time.monotonic() > given.end:
            break
        print(name, flush=True)
        call()
        if given.device == "cuda":
            torch.cuda.synchronize()
        count += 1
    print(f"Made {count} of {len(every)} calls.")


if __name__ == "__main__":
    main()
