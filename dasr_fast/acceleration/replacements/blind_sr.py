"""The released `BlindSR` in evaluation mode, by the engine."""

import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.acceleration.replacement import Plan, restored_copy
from dasr_fast.foreach import norms_of_sums
from dasr_fast.inference.engine import Engine
from dasr_fast.nn.convolution import untouched
from dasr_fast.ops.registration import autocasts, transformed
from dasr_fast.reference.layout import accumulation_dtype
from dasr_fast.torch_state import PLAIN, needs_gradient, observer

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}

UNUSED = ("E.encoder_k.", "E.encoder_q.mlp.", "E.queue")
"""Beginnings of the keys of what evaluation doesn't need."""


class EngineCache:
    """The engine for the weights that a model has now; copies of it are empty. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget the engine."""
        with self._lock:
            self._engine: Engine | str | None = None
            self._state: _State | None = None

    def engine(self, replaced: nn.Module, precision: str) -> Engine | str:
        """The engine for a replaced model, or why there is none; made anew if anything in the model has changed."""
        with self._lock:
            if self._engine is None or self._state is None or self._state.has_changed():
                model = restored_copy(replaced)  # The engine compares the model's own forward.
                self._state = _State(model)
                try:
                    self._engine = Engine(model, precision)
                except (TypeError, ValueError) as error:
                    self._engine = f"the engine can't compute it any more: {error}".rstrip(".")
            return self._state.obstacle() or self._engine

    def __reduce__(self) -> tuple[type["EngineCache"], tuple[()]]:
        return EngineCache, ()


class _State:
    """What the results of a model in evaluation mode depend on, to be compared with later.

    Numbers that were written through `Tensor.data` leave no trace but themselves. So all are read for a checksum of
    each tensor, which other numbers or another order of them change: 2 ms for DASR on a CPU. A GPU is waited for.
    """

    def __init__(self, model: nn.Module) -> None:
        self._modules = list(model.modules())
        owners = [owner for module in self._modules for owner in (module._parameters, module._buffers, module._modules)]
        owners += [vars(module) for module in self._modules if type(module).__module__.startswith("torch.nn.")]
        self._owners = [(owner, dict(owner)) for owner in owners]
        self._tensors = [*model.parameters(), *model.buffers()]
        self._stamps = list(map(_stamp, self._tensors))
        used = [value for key, value in model.state_dict().items() if not key.startswith(UNUSED)]
        self._numbers = [value for value in used if value.is_floating_point()]
        size, dtype = max(map(Tensor.numel, self._numbers)), accumulation_dtype(self._numbers[0].dtype)
        factors = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=dtype, device="cpu")
        self._factors = factors.to(self._numbers[0].device)
        self._checksums = self._sums()

    def has_changed(self) -> bool:
        """Whether modules, settings of PyTorch's modules, parameters or buffers have been changed or exchanged."""
        return (
            any(
                len(owner) != len(before) or any(owner.get(name) is not value for name, value in before.items())
                for owner, before in self._owners
            )
            or list(map(_stamp, self._tensors)) != self._stamps
            or not torch.equal(self._sums(), self._checksums)
        )

    def obstacle(self) -> str | None:
        """What asks for the forward of the model's parts, or None."""
        if any(module.training and not _is_stateless(module) for module in self._modules[1:]):
            return "a part of it is in training mode"
        return None if untouched(*self._modules[1:]) else "there are hooks on parts of it"

    @torch.no_grad()
    def _sums(self) -> Tensor:
        flat = [_in_memory_order(tensor).to(self._factors.dtype) for tensor in self._numbers]
        factors = [self._factors[: len(tensor)] for tensor in flat]
        if self._factors.device.type == "cpu":
            sums = torch.stack([torch.dot(tensor, factor) for tensor, factor in zip(flat, factors, strict=True)])
        else:
            sums = norms_of_sums(flat, factors)
        return sums.view(torch.int64 if sums.dtype == torch.float64 else torch.int32)  # NaN equals itself as bits.


def _in_memory_order(tensor: Tensor) -> Tensor:
    """A dense tensor's numbers in one dimension, without a copy."""
    strides = tensor.stride()
    return tensor.permute(sorted(range(tensor.dim()), key=lambda axis: -strides[axis])).flatten()


def _is_stateless(module: nn.Module) -> bool:
    """Whether a module does the same in training and in evaluation mode: those of PyTorch that DASR has, but one."""
    return type(module).__module__.startswith("torch.nn.") and not isinstance(module, nn.BatchNorm2d)


def _stamp(tensor: Tensor) -> tuple[int, int]:
    """What changes when numbers are written into a tensor, or the tensor gets other memory."""
    return tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # So that tracing runs it, and leaves it out.
def _warn(reason: str) -> None:
    # From one place, so that Python shows each reason once.
    warnings.warn(
        f"accelerate: the model computes by its own forward, not by the engine: {reason}.", RuntimeWarning, stacklevel=2
    )


@dataclass(frozen=True)
class BlindSRPlan(Plan):
    """`inference.Engine` for ordinary calls in evaluation mode; everything else as before."""

    released = "BlindSR"
    asks_for_observers = True
    cache: EngineCache = field(default_factory=EngineCache, compare=False)

    def call(self, replaced: nn.Module, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        watcher = observer() or ("torch.compile" if torch.compiler.is_compiling() else None)
        if watcher is not None:
            _warn(f"{watcher} wants to see its operations")
            return original(*arguments, **keywords)
        if replaced.training:
            self.cache.clear()
        x = arguments[0] if len(arguments) == 1 and not keywords else None
        if replaced.training or not isinstance(x, Tensor) or not _is_ordinary(replaced, x):
            return original(*arguments, **keywords)
        engine = self.cache.engine(replaced, _PRECISIONS[x.dtype])
        if isinstance(engine, str):
            _warn(engine)
            return original(*arguments, **keywords)
        with torch.inference_mode():
            sr = engine(x)
        return sr.to(x.dtype, copy=True)  # An ordinary tensor, outside of inference mode.


def _is_ordinary(model: nn.Module, x: Tensor) -> bool:
    """Whether `x` is an image of the model's type, on its device, that needs no derivative."""
    weight = next(model.parameters(), None)  # Copies by DataParallel have none.
    return (
        weight is not None
        and type(x) in PLAIN
        and type(weight) in PLAIN
        and x.dim() == 4
        and x.shape[1] == 3
        and x.numel() > 0
        and (x.dtype, x.device) == (weight.dtype, weight.device)
        and x.dtype in _PRECISIONS
        and x.device.type != "meta"
        and not (x.device.type == "cuda" and torch.cuda.is_current_stream_capturing())
        and not (needs_gradient(x) or transformed(x))
        and not autocasts(x.device.type)
    )
