"""Whether kernels are right on this machine: each computes a few small cases, which are compared with the reference.

GPU kernels depend on a device, a driver and a compiler that nobody has tried together. `auto` takes those of an op only
after a check, which takes milliseconds and is kept in the user's cache.
"""

import hashlib
import importlib
import inspect
import itertools
import json
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dasr_fast.build import record
from dasr_fast.files import cache_folder, write_json
from dasr_fast.ops.checks import is_activated, type_name

TOLERANCES = {torch.float32: 1e-4, torch.float16: 5e-3, torch.bfloat16: 4e-2}
"""Largest norm of a result's error, as a part of the result's norm."""

TF32 = 5e-3
"""The same for float32 where PyTorch's convolutions may use TF32, as the kernels then do."""

SIZES = {"B": 2, "N": 2, "C": 64, "M": 64, "C_out": 64, "H": 13, "W": 18, "k": 3}
SIZES |= {"h": 6, "w": 9, "kh": 7, "kw": 7, "scale": 2, "size": 9, "height": 5, "width": 11, "count": 101}
"""Sizes of the cases, by the names of dimensions and of arguments."""

_IMAGES = {"hr": "B N C H W", "kernel": "B kh kw", "noise": "B N C h w", "level": "B"}
"""Dimensions of tensors whose op doesn't state them."""

_CHOSEN = {
    "image": (torch.arange(2 * 3 * 13 * 18) * 37 % 256).view(2, 3, 13, 18).float(),
    "quality": torch.tensor([30.0, 90.0]),
    "subsampling": torch.tensor([2, 1]),
    "seed": torch.tensor([3, 2**40]),
    "add_noise noise": (torch.arange(2 * 3 * 13 * 18) * 53 % 601).view(2, 3, 13, 18) / 150 - 2,
}
"""Arguments that aren't any numbers, by their names alone or after that of the op."""

_FOUND: dict[tuple[str, str, torch.device], str | None] = {}


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def failure(op: str, backend: str, device: torch.device) -> str | None:
    """Why the kernels of an op aren't to be trusted on a device, or None if they are; checked at the first call."""
    key = (op, backend, device)
    if key not in _FOUND:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return "they haven't been checked, and a CUDA graph is being captured"
        known, name = _read(), _name(op, backend, device)
        if name not in known:
            known[name] = check(op, backend, device)
            _write(known)
        _FOUND[key] = known[name]
        if known[name] is not None:
            warnings.warn(f"{op}: the {backend} kernels are off on this machine: {known[name]}.", stacklevel=2)
    return _FOUND[key]


def known_failure(op: str, backend: str, device: torch.device) -> str | None:
    """What an earlier check of the kernels of an op found wrong, if there was one."""
    return _read().get(_name(op, backend, device))


def check_again(op: str, backend: str, device: torch.device) -> str | None:
    """As `failure`, checked anew."""
    found = check(op, backend, device)
    _FOUND.clear()
    _write(_read() | {_name(op, backend, device): found})
    return found


def check(op: str, backend: str, device: torch.device) -> str | None:
    """Compare the results and gradients of an op's kernels with the reference in float64.

    Returns:
        None if all agree; otherwise what differs, or how a kernel failed.
    """
    kernels = importlib.import_module(f"{_backend(backend).package}.{op}")
    reference = importlib.import_module(f"dasr_fast.reference.{op}")
    unsupported = getattr(kernels, "unsupported", lambda *_: None)
    try:
        with torch.no_grad():
            for given in _cases(op, device):
                arguments = [given[name] for name in inspect.signature(getattr(reference, op)).parameters]
                if unsupported(*arguments) is not None:
                    continue
                given["y"] = None
                for name in _functions(op, reference):
                    needed = [given[key] for key in inspect.signature(getattr(reference, name)).parameters]
                    expected = _tensors(getattr(reference, name)(*map(_exact, needed)))
                    results = _tensors(getattr(kernels, name)(*needed))
                    for result, right in zip(results, expected, strict=True):
                        error = _error(result, right)
                        allowed = _tolerance(given["dtype"])
                        if not error <= allowed:  # NaN is no agreement.
                            dtype = type_name(given["dtype"])
                            return f"{name} in {dtype} differs from the reference by {error:.0e}, above {allowed:.0e}"
                    if name == op:
                        given["grad"] = torch.ones_like(results[0]).copy_(_random(results[0].shape))
                        given["y"] = results[0] if is_activated(given) else None
    except Exception as error:  # Whatever a driver or compiler raises, other backends can compute the op.
        return f"a check of them failed: {' '.join(str(error).split())[:300] or type(error).__name__}"
    return None


def _cases(op: str, device: torch.device) -> Iterator[dict[str, Any]]:
    """Arguments by name, of each type and memory format, with and without what may be left out."""
    found = importlib.import_module(f"dasr_fast.ops.{op}").OP
    formats = (torch.contiguous_format, torch.channels_last)
    for dtype, layout, whole in itertools.product(TOLERANCES, formats, (True, False)):
        given: dict[str, Any] = {"dtype": dtype, "height": SIZES["H"], "width": SIZES["W"]}
        for name, kind, optional, dimensions in found.arguments:
            if optional and not whole:
                given[name] = None
            elif (key := f"{op} {name}") in _CHOSEN or (key := name) in _CHOSEN:
                given[name] = _CHOSEN[key].to(device)
            elif kind is Tensor:
                sizes = [one[0] for one in dimensions] or _IMAGES[name].split()
                tensor = _random([SIZES.get(size) or int(size) for size in sizes]).to(device, dtype)
                given[name] = (
                    tensor.contiguous(memory_format=layout) if tensor.dim() == 4 and name != "kernel" else tensor
                )
            else:
                given[name] = {bool: whole, float: 0.1, int: SIZES.get(name), str: "bicubic"}[kind]
        given["wanted"], given["quantize"] = [True] * 3, False
        yield given


def _functions(op: str, reference: Any) -> list[str]:
    """Names of an op's function and of its gradients."""
    return [op, *(name for name in vars(reference) if name.startswith((f"{op}_backward", f"{op}_grad_")))]


@cache
def _numbers() -> Tensor:
    return torch.rand(2**17, generator=torch.Generator().manual_seed(0)) - 0.3


def _random(shape: Any) -> Tensor:
    """Numbers around 0.2; the same for the same shape."""
    count = torch.Size(shape).numel()
    return _numbers()[count % 97 :][:count].view(*shape)


def _exact(value: Any) -> Any:
    return value.detach().cpu().double() if isinstance(value, Tensor) and value.is_floating_point() else value


def _tensors(results: Any) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


def _error(result: Tensor, expected: Tensor) -> float:
    if result.shape != expected.shape:
        return float("inf")
    difference = (result.cpu().double() - expected.cpu()).norm()
    return float(difference / expected.norm().clamp(min=1e-6))


def _tolerance(dtype: torch.dtype) -> float:
    return TF32 if dtype == torch.float32 and torch.backends.cudnn.allow_tf32 else TOLERANCES[dtype]


def _backend(name: str) -> Any:
    from dasr_fast.ops.backends import BACKENDS  # Which asks for checks.

    return BACKENDS[name]


def _name(op: str, backend: str, device: torch.device) -> str:
    """What a check is kept under: everything that it depends on."""
    return " | ".join([op, backend, _device(device), torch.__version__, _versions(backend)])


@cache
def _device(device: torch.device) -> str:
    if device.type != "cuda":
        return device.type
    driver = Path("/proc/driver/nvidia/version")
    version = driver.read_text().splitlines()[0] if driver.exists() else ""
    return f"{torch.cuda.get_device_name(device)} {torch.cuda.get_device_capability(device)} {version}"


@cache
def _versions(backend: str) -> str:
    """A hash of everything that makes a backend's kernels."""
    package = importlib.import_module(_backend(backend).package)
    folder, total = Path(package.__path__[0]), hashlib.sha256()
    for path in sorted([*folder.rglob("*.py"), *record.FOLDER.glob(record.RECORD)]):
        total.update(path.read_bytes())
    compiler = importlib.import_module("triton").__version__ if backend == "triton" else ""
    return f"{compiler} {total.hexdigest()[:16]}"


def _file() -> Path:
    return cache_folder() / "checked-kernels.json"


def _read() -> dict[str, str | None]:
    try:
        known = json.loads(_file().read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(known: dict[str, str | None]) -> None:
    """Keep what was found, if there is a place for it."""
    with suppress(OSError):
        _file().parent.mkdir(parents=True, exist_ok=True)
        write_json(_file(), known)
