"""An op, stated once: checks, schema, fakes and gradient follow from its reference and the shapes of its tensors."""

import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_args

import torch
from torch import Tensor

from dasr_fast.ops.backends import Asked, BackendError, choose, function
from dasr_fast.ops.checks import Argument, check_tensors, check_values, dimensions, is_activated
from dasr_fast.ops.registration import (
    Gradient,
    autocast,
    autocasts,
    define,
    differentiate,
    is_followed,
    transformed,
    without_autocast,
)
from dasr_fast.reference.layout import image_format, memory_format
from dasr_fast.torch_state import needs_gradient

MOST_KINDS = 1000
"""Kinds of accepted calls that an op remembers, so as not to check them again."""


class Op:
    """An op: `torch.ops.dasr_fast.<name>`, its checks, its gradients, and the choice of what computes a call.

    Its arguments are those of the function in `dasr_fast.reference.<name>`. The functions of its gradients there,
    `<name>_backward`, or `<name>_grad_<tensor>` for each, name what they need: `grad`, arguments of the op, its output
    `y`, which is None unless an activation comes last, and which gradients are `wanted`. A `residual` needs none.

    Args:
        name: The op's name.
        shapes: Of its tensors and of its result `y`, as in `checks.dimensions`; whole numbers it takes are sizes too.
        flops: Twice the multiplications of its products, from the arguments with shapes for tensors, if it has any.
        flops_backward: The same of the functions of its gradients.
        fake: What tells type and shape of the result, if they aren't those of the first tensor and of "y".
        otherwise: What computes the op for `auto` where there is no kernel, instead of the reference: a function of the
            backend asked for and the arguments.
    """

    def __init__(
        self,
        name: str,
        shapes: dict[str, str],
        *,
        flops: Callable[..., int] | None = None,
        flops_backward: Callable[..., int] | None = None,
        fake: Callable[..., Tensor] | None = None,
        otherwise: Callable[..., Tensor] | None = None,
    ) -> None:
        reference = importlib.import_module(f"dasr_fast.reference.{name}")
        forward = getattr(reference, name)
        self.name, self.otherwise = name, otherwise
        self.shapes = {tensor: dimensions(written) for tensor, written in shapes.items()}
        self.arguments = [
            Argument(key, *_kind(parameter.annotation), self.shapes.get(key, ()))
            for key, parameter in inspect.signature(forward).parameters.items()
        ]
        self.names = [argument.name for argument in self.arguments]
        self._accepted: set[Any] = set()
        self.forward = define(name, forward, fake or self._fake, flops)
        tensors = [argument.name for argument in self.arguments if argument.kind is Tensor]
        tensors = [tensor for tensor in tensors if tensor != "residual"]
        gradients = []
        for key, backward in vars(reference).items():
            of = [tensor for tensor in tensors if key in (f"{name}_backward", f"{name}_grad_{tensor}")]
            if of:
                needed = list(inspect.signature(backward).parameters)
                registered = define(name, backward, self._fake_gradients(of, needed), flops_backward)
                gradients.append(Gradient(of, needed, registered))
        if gradients:
            differentiate(name, self.arguments, gradients)

    def __call__(self, backend: Asked, *values: Any) -> Tensor:
        """The result for arguments that are checked, and in autocast's type where it is on."""
        followed = is_followed(*values)
        kind = None if followed else _kind_of_call(values)
        if kind is None or kind not in self._accepted:
            values = self._checked(values)
            if kind is not None:
                if len(self._accepted) >= MOST_KINDS:
                    self._accepted.clear()
                self._accepted.add(kind)
        if "residual" in self.names and needs_gradient(*values):
            given = dict(zip(self.names, values, strict=True))
            residual = given["residual"]
            if residual is not None and is_activated(given):
                # The gradient needs the sign of what the activation returned, which the sum would hide.
                return self._result(backend, tuple({**given, "residual": None}.values()), followed) + residual
        return self._result(backend, values, followed)

    def _checked(self, values: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments in autocast's type, flags as Booleans."""
        check_tensors(self.name, self.arguments, values)
        values = autocast(*values)
        check_values(self.name, self.arguments, values)
        return tuple(
            bool(value) if argument.kind is bool else value
            for argument, value in zip(self.arguments, values, strict=True)
        )

    def compute(self, backend: Asked, *arguments: Any) -> Tensor:
        """The result for arguments that were checked, by the backend that is chosen for them.

        A registered op has the derivatives of a backward pass alone. Forward-mode derivatives would be zero without a
        word, so that dual tensors, and all transforms of `torch.func`, take the mathematics of the reference instead.

        Raises:
            ValueError: No backend has that name.
            BackendError: The backend asked for can't do it; the message says why.
        """
        return self._result(backend, arguments, is_followed(*arguments))

    def _result(self, backend: Asked, arguments: tuple[Any, ...], followed: bool) -> Tensor:
        """See `compute`; where the operations aren't `followed`, past the registration, which takes 20 us."""
        device = arguments[0].device.type
        if not transformed(*arguments):
            chosen = choose(self.name, backend, device, arguments)
            if chosen is None and self.otherwise is not None:
                return self.otherwise(backend, *arguments)
            result: Tensor
            if chosen is not None and not followed and not needs_gradient(*arguments):
                with without_autocast(device):
                    result = function(self.name, chosen, self.name)(*arguments)
            else:
                result = self.forward(*arguments, chosen or "reference")
            return result
        if isinstance(backend, str) and backend not in ("auto", "reference"):
            raise BackendError(
                f"{self.name}: the backend {backend} can't run: only the reference has forward-mode derivatives, and "
                "works under the transforms of torch.func."
            )
        # Tensors under `torch.vmap` can't say whether they are channels-last.
        contiguous = tuple(value.contiguous() if isinstance(value, Tensor) else value for value in arguments)
        with without_autocast(device):
            return function(self.name, "reference", self.name)(*contiguous)

    def _fake(self, *values: Any) -> Tensor:
        x = values[0]
        shape = self._shape("y", dict(zip(self.names, values, strict=False)))
        return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=image_format(x))

    def _fake_gradients(self, of: Sequence[str], needed: Sequence[str]) -> Callable[..., Any]:
        """What gradients of the tensors `of` look like: as the tensors do, empty for one that is None or not wanted."""

        def fake(*values: Any) -> Any:
            given = dict(zip(needed, values, strict=False))
            wanted = given.get("wanted", [True] * len(of))
            gradients = []
            for name, want in zip(of, wanted, strict=False):
                like = given.get(name, values[0])
                if not want or like is None:
                    gradients.append(values[0].new_empty(0))
                    continue
                shape = like.shape if name in given else self._shape(name, given)
                layout = memory_format(like) if name == "x" else torch.contiguous_format
                gradients.append(torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout))
            return tuple(gradients) if len(gradients) > 1 else gradients[0]

        return fake

    def _shape(self, name: str, given: dict[str, Any]) -> list[Any]:
        """Of a tensor, by the sizes that the given ones have."""
        sizes = {key: value for key, value in given.items() if isinstance(value, int | torch.SymInt)}
        for tensor, expected in self.shapes.items():
            if given.get(tensor) is not None:
                sizes.update((names[0], size) for names, size in zip(expected, given[tensor].shape, strict=True))
        return [sizes[names[0]] for names in self.shapes[name]]


def _kind_of_call(values: Sequence[Any]) -> tuple[Any, ...] | None:
    """All that its checks depend on, or None where that can't be told or autocast changes types."""
    if not isinstance(values[0], Tensor) or autocasts(values[0].device.type):
        return None
    kind: list[Any] = []
    for value in values:
        if isinstance(value, Tensor):
            kind += (value.shape, value.dtype, value.device)
        elif value is None or type(value) in (bool, float):
            kind += (type(value), value)
        else:  # A number of another type, which the checks convert.
            return None
    return tuple(kind)


def _kind(annotation: Any) -> tuple[Any, bool]:
    """Type of an argument, and whether it may be None."""
    kinds = get_args(annotation) or (annotation,)
    return kinds[0], type(None) in kinds
