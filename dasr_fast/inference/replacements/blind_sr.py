"""The released `BlindSR` in evaluation mode, by the engine."""

import copy
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.inference.engine import Engine
from dasr_fast.inference.replacements.replacement import Plan, restore
from dasr_fast.ops.registration import autocasts, needs_gradient, transformed

_PRECISIONS = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


class EngineCache:
    """The engine for the weights that a model has now; copies of it are empty. Several threads may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Forget the engine."""
        with self._lock:
            self._engine: Engine | None = None
            self._weights: list[tuple[dict[str, Any], str, Any, Any]] = []

    def engine(self, replaced: nn.Module, precision: str) -> Engine:
        """The engine for a replaced model, made anew if a parameter, buffer or module of it has changed."""
        with self._lock:
            changed = any(
                owner.get(name) is not value or _stamp(value) != stamp for owner, name, value, stamp in self._weights
            )
            if self._engine is None or changed:
                model = copy.copy(replaced)
                restore(model)  # The engine compares the model's own forward.
                self._engine = Engine(model, precision)
                self._weights = [
                    (owner, name, value, _stamp(value))
                    for module in model.modules()
                    for owner in (module._parameters, module._buffers, module._modules)
                    for name, value in owner.items()
                ]
            return self._engine

    def __reduce__(self) -> tuple[type["EngineCache"], tuple[()]]:
        return EngineCache, ()


def _stamp(value: Any) -> tuple[int, int] | None:
    """What changes when numbers are written into a tensor, or the tensor gets other memory."""
    if not isinstance(value, Tensor):
        return None
    return value.data_ptr(), 0 if value.is_inference() else value._version


@dataclass(frozen=True)
class BlindSRPlan(Plan):
    """`inference.Engine` for ordinary calls in evaluation mode; everything else as before.

    Weights that are written through `Tensor.data` go unnoticed until the model is called in training mode, or replaced
    anew.

    Attributes:
        cache: Holds the engine.
    """

    released = "BlindSR"
    cache: EngineCache = field(default_factory=EngineCache, compare=False)

    def call(
        self, replaced: nn.Module, original: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
    ) -> Any:
        if replaced.training:
            self.cache.clear()
        x = arguments[0] if len(arguments) == 1 and not keywords else None
        if replaced.training or not isinstance(x, Tensor) or not _is_ordinary(replaced, x):
            return original(*arguments, **keywords)
        engine = self.cache.engine(replaced, _PRECISIONS[x.dtype])
        with torch.inference_mode():
            sr = engine(x)
        return sr.to(x.dtype, copy=True)  # An ordinary tensor, outside of inference mode.


def _is_ordinary(model: nn.Module, x: Tensor) -> bool:
    """Whether `x` is an image of the model's type, on its device, that needs no derivative."""
    weight = next(model.parameters(), None)  # Copies by DataParallel have none.
    return (
        weight is not None
        and x.dim() == 4
        and x.shape[1] == 3
        and x.numel() > 0
        and (x.dtype, x.device) == (weight.dtype, weight.device)
        and x.dtype in _PRECISIONS
        and not (needs_gradient(x) or transformed(x))
        and not autocasts(x.device.type)
    )
