"""What can compute an op on this machine, and which of them does.

A backend implements an op in one module that holds the functions of `dasr_fast.reference.<op>` under the same
names and with the same arguments, and, where it can't do everything, `unsupported(*arguments)`, which takes the
arguments of the op and returns the reason why not, or None. One that not every device of its kind can run also has
`obstacle(device)`, the reason why, and one that isn't always the fastest `is_slow(*arguments)`. Adding such a module is
all it takes.
"""

import importlib
import importlib.util
import os
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch

from dasr_fast.build import record
from dasr_fast.ops import self_check
from dasr_fast.ops.checks import shown

OPS = (
    "dynamic_depthwise_conv",
    "channel_modulation",
    "da_conv",
    "conv3x3",
    "da_half_block",
    "blur_downsample",
    "gaussian_kernel",
    "jpeg",
    "resize",
    "normal_numbers",
    "add_noise",
)


class BackendError(RuntimeError):
    """A backend that was asked for can't run; the message says why."""


@dataclass(frozen=True)
class Backend:
    """One way to compute ops.

    Attributes:
        name: As users ask for it.
        package: Where its modules are.
        device: Kind of device that its tensors must be on; None for any.
        automatic: Whether "auto" may take it.
        part: Of the compiled library, which it needs; None if it needs none.
    """

    name: str
    package: str
    device: str | None
    automatic: bool = True
    part: str | None = None

    def implementation(self, op: str) -> ModuleType | str:
        """The module that implements `op` here, or the reason why there is none."""
        if self.device == "cuda" and not torch.cuda.is_available():
            return "no NVIDIA GPU was found"
        module = f"{self.package}.{op}"
        try:
            if importlib.util.find_spec(module) is None:
                return f"it does not implement {op}"
            if self.part is not None and (reason := record.missing(self.part)) is not None:
                return reason
            return importlib.import_module(module)
        except ImportError as error:
            absent = error.name is not None and self.package.startswith(error.name)
            return "this installation was built without it" if absent else f"importing it failed: {error}"
        except Exception as error:  # A stale library or an incompatible version must not break the other backends.
            return f"importing it failed: {error.__cause__ or error}"  # The cause is the loader's own message.


INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton kernels run on the CPU, slowly, for tests."""

BACKENDS = {
    backend.name: backend
    for backend in (
        Backend("cuda", "dasr_fast.compiled.cuda", "cuda", part="cuda"),
        Backend("triton", "dasr_fast.kernels", "cpu" if INTERPRETED else "cuda", automatic=not INTERPRETED),
        Backend("cpp", "dasr_fast.compiled.cpp", "cpu", part="cpp"),
        Backend("reference", "dasr_fast.reference", None),
    )
}
"""All backends by name, the preferred first."""

AUTOMATIC = tuple(name for name, backend in BACKENDS.items() if backend.automatic and name != "reference")
"""Those with kernels that "auto" may take."""

Asked = str | tuple[str, ...]
"""What a caller asks for: "auto", the name of a backend, or several, of which the first that can computes."""

# Looked up once, so that choosing stays a table look-up that torch.compile can follow.
IMPLEMENTATIONS: dict[tuple[str, str], ModuleType | str] = {
    (op, name): backend.implementation(op) for op in OPS for name, backend in BACKENDS.items()
}


def state(op: str, backend: str) -> str | None:
    """Why `backend` can't compute an op on this machine at all, or None; asks the GPU what it is."""
    implementation = IMPLEMENTATIONS[op, backend]
    if isinstance(implementation, str):
        return implementation
    device = torch.device(BACKENDS[backend].device or "cpu")
    obstacle = getattr(implementation, "obstacle", None)
    reason = None if obstacle is None else obstacle(device)
    return reason or (self_check.known_failure(op, backend, device) if device.type == "cuda" else None)


def refusal(op: str, backend: str, device: str, arguments: tuple[Any, ...]) -> str | None:
    """Why `backend` can't compute `op` on a `device` with these arguments, or None if it can."""
    implementation = IMPLEMENTATIONS[op, backend]
    if isinstance(implementation, str):
        return implementation
    needed = BACKENDS[backend].device
    if needed is not None and device != needed:
        return f"it needs tensors on {needed}, and these are on {device}"
    unsupported = getattr(implementation, "unsupported", None)
    return unsupported(*arguments) if unsupported is not None else None


def choose(op: str, backend: Asked, device: str, arguments: tuple[Any, ...]) -> str | None:
    """Name of the backend that computes `op`: the one asked for, or for "auto" the first with a kernel that isn't slow.

    Depends on devices, types, shapes and PyTorch's modes alone, never on values.

    Returns:
        The name, or None if no kernel is for "auto".

    Raises:
        ValueError: No backend has that name.
        BackendError: The backend asked for can't do it; the message says why.
    """
    *preferred, last = backend if isinstance(backend, tuple) else (backend,)
    for name in preferred:
        if name != "auto" and refusal(op, name, device, arguments) is None:
            return name
    if isinstance(last, str) and last == "auto":
        return next((name for name in AUTOMATIC if _is_best(op, name, device, arguments)), None)
    if not isinstance(last, str) or last not in BACKENDS:
        raise ValueError(f"{op}: backend must be one of auto, {', '.join(BACKENDS)}; got {shown(last)}.")
    reason = refusal(op, last, device, arguments)
    if reason is not None:
        raise BackendError(f"{op}: the backend {last} can't run: {reason}.")
    return last


def _is_best(op: str, backend: str, device: str, arguments: tuple[Any, ...]) -> bool:
    if refusal(op, backend, device, arguments) is not None:
        return False
    if BACKENDS[backend].device == "cuda" and self_check.failure(op, backend, arguments[0].device) is not None:
        return False
    is_slow = getattr(IMPLEMENTATIONS[op, backend], "is_slow", None)
    return is_slow is None or not is_slow(*arguments)


def function(op: str, backend: str, name: str) -> Any:
    """The function `name` (the op's, or one of its gradients) of a backend that `choose` returned."""
    return getattr(IMPLEMENTATIONS[op, backend], name)
