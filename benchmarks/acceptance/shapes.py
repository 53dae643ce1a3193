"""Part `shapes`: thousands of calls of random shapes, results and gradients against the reference in float64."""

import argparse
import itertools
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.acceptance.drawn import Drawn, draw
from benchmarks.acceptance.part import ROOT, Asked, Report, lost
from dasr_fast import ops
from dasr_fast.files import written_whole
from dasr_fast.ops.backends import BACKENDS, BackendError, state
from tests.specification import SPECIFICATIONS

CALLS, FEW = 20_000, 60
"""Calls by each backend of a GPU, and on a CPU, as many as there is time for."""

PROCESSES = {"cuda": 4, "triton": 2}
"""By backend: Triton compiles kernels for nearly every call, and would hold up the other."""

ONCE_MORE = 2
"""Draws of other values that must fail, too: features that are rounded to another sign have another slope, seldom."""

LOOSE = 2
"""How much larger than the specification's tolerances errors may be, which here are the largest, not the mean."""

TINY = 1e-4
"""Sizes below which errors are no longer relative: float16 has few digits there."""

SPARE = 8.0
"""Seconds before its end at which the part begins no more calls."""

HANGING = 40.0
"""Seconds after which a call is wrong that hasn't ended; compiling may take some."""

Function = Callable[..., Tensor]


@dataclass
class Found:
    """What some calls have shown.

    Attributes:
        checked: Calls of which something was compared.
        counts: Of comparisons, by op, backend, type and whether of result or gradient.
        errors: The largest of each of those, over what is allowed.
        refused: Calls that a backend doesn't take, by op and backend.
        seldom: Calls that failed once, and not with other values.
        failures: What is wrong, a line each.
        call: That is being made, if the process hasn't ended by itself.
        since: When it was begun, as `time.monotonic` tells.
    """

    checked: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    seldom: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    call: str = ""
    since: float = 0.0

    def add(self, other: "Found") -> None:
        """What other calls have shown."""
        self.checked += other.checked
        self.counts = dict(Counter(self.counts) + Counter(other.counts))
        self.refused = dict(Counter(self.refused) + Counter(other.refused))
        for key, error in other.errors.items():
            self.errors[key] = max(self.errors.get(key, 0.0), error)
        self.seldom += other.seldom
        self.failures += other.failures

    def write(self, path: Path) -> None:
        """Write all of it, at once."""
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(asdict(self)))


def run(asked: Asked, report: Report) -> None:
    """Share the calls among processes, and put together what they found."""
    calls = CALLS if asked.on_gpu else FEW
    started = []
    for backend, processes in PROCESSES.items() if asked.on_gpu else [("", 1)]:
        for index in range(processes):
            path = asked.folder / f"shapes-{backend}{index}.json"
            path.unlink(missing_ok=True)
            command = [sys.executable, "-m", "benchmarks.acceptance.shapes", str(path), "--device", asked.device]
            command += ["--first", str(index), "--step", str(processes), "--calls", str(calls)]
            command += ["--end", str(asked.end - SPARE), "--backend", backend]
            log = path.with_suffix(".txt").open("w")
            process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
            started.append((backend, path, process))
    total, checked = Found(), Counter[str]()
    for backend, path, process in started:
        status = _status(process, asked.left - 1)
        found = Found(**json.loads(path.read_text())) if path.exists() else Found()
        checked[f" by {backend}" if backend else ""] += found.checked
        total.add(found)
        if status is None and asked.end - found.since > HANGING:
            report.fail(f"the process of {path.name} was stopped in its call, {found.call or 'which is none yet'}")
        elif status:
            report.fail(f"the process of {path.name} ended with status {status} in its call, {found.call}")
    report.failures += total.failures
    if not total.checked:
        report.fail("nothing was compared")
    made = [f"{count} of {calls} calls{by}" for by, count in checked.items()]
    report.line = ", ".join([*made, f"{sum(total.counts.values())} comparisons"])
    report.figures |= {
        "largest error over what is allowed": {
            key: f"{error:.3f} in {total.counts[key]}" for key, error in sorted(total.errors.items())
        },
        "calls that a backend doesn't take": dict(sorted(total.refused.items())),
        "failed once and not with other values": total.seldom[:10],
    }


def _status(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    """Exit status of a process, None if it had to be stopped after some seconds."""
    try:
        return process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None


def share(first: int, step: int, calls: int, device: str, backend: str) -> Iterator[Drawn]:
    """A process's part of the calls, of every `step`th number, without ops that nothing computes on the device."""
    computed = {op for op in SPECIFICATIONS if any(candidates(op, device, backend))}
    drawn = (one for one in map(draw, itertools.count(first, step)) if one.op in computed)
    return itertools.islice(drawn, len(range(first, calls, step)) if computed else 0)


def candidates(op: str, device: str, backend: str) -> Iterator[tuple[str, Function, bool]]:
    """What computes an op on the device, by one backend or, if it is "", by any: name, function, has it gradients."""
    # On a CPU the reference is one, in its other types, so that there is always something to compare.
    for name, one in BACKENDS.items():
        here = one.device == device or (one.device is None and device == "cpu")
        if here and backend in ("", name) and state(op, name) is None:
            yield name, partial(getattr(ops, op), backend=name), True


def compare(drawn: Drawn, device: str, found: Found, backend: str = "") -> None:
    """Compare everything that computes the call, or one backend, with float64."""
    compared = False
    for name, function, differentiable in candidates(drawn.op, device, backend):
        try:
            errors = _errors(drawn, function, differentiable, device, 0)
            for number in range(1, 1 + ONCE_MORE):
                if max(errors.values()) <= 1:
                    break
                again = _errors(drawn, function, differentiable, device, number)
                if max(again.values()) <= 1:
                    found.seldom.append(f"{name}: {drawn}")
                    errors = again
        except BackendError:
            key = f"{drawn.op}, {name}"
            found.refused[key] = found.refused.get(key, 0) + 1
            continue
        compared = True
        for what, error in errors.items():
            key = f"{drawn.op}, {name}, {str(drawn.dtype)[6:]}, {'result' if what == 'result' else 'gradients'}"
            found.counts[key] = found.counts.get(key, 0) + 1
            found.errors[key] = max(found.errors.get(key, 0.0), error)
            if not error <= 1:
                found.failures.append(f"{name}, {what} is off by {error:.3g} times what is allowed: {drawn}")
    found.checked += compared


def _errors(drawn: Drawn, function: Function, differentiable: bool, device: str, values: int) -> dict[str, float]:
    """Largest errors of the result and of each gradient, over what is allowed."""
    specification = SPECIFICATIONS[drawn.op]
    arguments = drawn.arguments(device, values)
    inputs = _differentiable(arguments) if differentiable else {}
    y = function(**arguments)
    limit = LOOSE * specification.tolerance[y.dtype]
    target, most = (_reference(drawn.op, a) for a in (_wide(arguments), _wide(arguments, positive=True)))
    # Bicubic weights are of either sign, and Winograd's convolutions round small numbers as their large neighbours.
    elementwise = drawn.op not in ("blur_downsample", "conv3x3")
    errors = {"result": _error(y, _activated(drawn, target), most if elementwise else None) / limit}
    if not differentiable or y.numel() == 0:
        return errors
    grad = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    grads = torch.autograd.grad(y, list(inputs.values()), grad)
    wide = grad.double()
    slope = _slope(drawn)
    if slope is not None:
        wide = torch.where(y > 0, wide, slope * wide)
    exact = _gradients(drawn.op, _wide(arguments), list(inputs), wide)
    bounds = _gradients(drawn.op, _wide(arguments, positive=True), list(inputs), wide.abs())
    for name, result, wanted, bound in zip(inputs, grads, exact, bounds, strict=True):
        if drawn.op == "da_half_block":  # Whose features between the convolutions may be rounded to another sign.
            error = _distance(result, wanted)
        else:
            error = _error(result, wanted, bound if elementwise else None)
        errors[f"gradient of {name}"] = error / (specification.gradients * limit)
    return errors


def _differentiable(arguments: dict[str, Any]) -> dict[str, Tensor]:
    floating = {k: t for k, t in arguments.items() if isinstance(t, Tensor) and t.is_floating_point()}
    return {name: tensor.requires_grad_() for name, tensor in floating.items()}


def _slope(drawn: Drawn) -> float | None:
    """Of the LeakyReLU that comes last, or None."""
    options = drawn.case.options
    last = drawn.op in ("dynamic_depthwise_conv", "conv3x3") or options.get("activate", False)
    return options.get("negative_slope") if last else None


def _activated(drawn: Drawn, y: Tensor) -> Tensor:
    slope = _slope(drawn)
    return y if slope is None else F.leaky_relu(y, slope)


def _wide(arguments: dict[str, Any], *, positive: bool = False) -> dict[str, Any]:
    """In float64; if positive, results are sums of the sizes of all terms, and so bounds for rounding errors."""

    def wide(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        value = value.detach().double()
        return value.abs() if positive else value

    return {name: wide(value) for name, value in arguments.items()}


def _reference(op: str, arguments: dict[str, Any]) -> Tensor:
    """The op in float64, without the LeakyReLU that comes last."""
    last = {"dynamic_depthwise_conv": {"negative_slope": None}, "conv3x3": {"negative_slope": None}}
    without = {name: value for name, value in {"activate": False}.items() if name in arguments}
    return getattr(ops, op)(**{**arguments, **without, **last.get(op, {})}, backend="reference")


def _gradients(op: str, arguments: dict[str, Any], names: list[str], grad: Tensor) -> tuple[Tensor, ...]:
    wanted = [arguments[name].requires_grad_() for name in names]
    return torch.autograd.grad(_reference(op, arguments), wanted, grad)


def _error(result: Tensor, target: Tensor, bound: Tensor | None) -> float:
    """Largest error over the bound at its place; without bounds over the largest value."""
    if result.shape != target.shape or not torch.isfinite(result).all():
        return float("inf")
    if result.numel() == 0:
        return 0.0
    scale = target.abs().max() if bound is None else bound.abs()
    return ((result.detach().double() - target).abs() / (scale + TINY)).max().item()


def _distance(result: Tensor, target: Tensor) -> float:
    if result.shape != target.shape or not torch.isfinite(result).all():
        return float("inf")
    return ((result.detach().double() - target).norm() / target.norm().clamp(min=TINY)).item()


def main() -> None:
    """Compare every so many of the calls, and write what was found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--device", required=True)
    for name in ("--first", "--step", "--calls"):
        parser.add_argument(name, type=int, required=True)
    parser.add_argument("--end", type=float, required=True, help="when to end, as time.monotonic tells")
    parser.add_argument("--backend", required=True, help="the only one to compare, or nothing")
    given = parser.parse_args()
    torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=True)  # Memory that nobody has written to is NaN.
    torch.set_num_threads(1)
    found = Found()
    for drawn in share(given.first, given.step, given.calls, given.device, given.backend):
        if time.monotonic() > given.end:
            break
        found.call, found.since = str(drawn), time.monotonic()
        found.write(given.path)
        try:
            compare(drawn, given.device, found, given.backend)
            if given.device == "cuda":
                torch.cuda.synchronize()
        except Exception as error:  # Whatever a call raises is a failure of it.
            found.failures.append(f"{type(error).__name__}: {str(error).splitlines()[:1]}: {drawn}")
            if lost(given.device):
                break
    found.call = ""
    found.write(given.path)


if __name__ == "__main__":
    main()
    os._exit(0)  # A lost context can't be torn down.
