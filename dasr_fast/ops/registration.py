"""Registration of an op with PyTorch, the choice of what computes a call, and what autocast does to its arguments."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from dasr_fast.ops.backends import BackendError, choose, function
from dasr_fast.torch_state import is_transformed

# Asked once: torch.compile of PyTorch 2.11 can't trace the question.
_AUTOCASTING = tuple(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))
_LIBRARY: Any = torch.library.Library("dasr_fast", "FRAGMENT")  # type: ignore[no-untyped-call]


def define(op: str, name: str, schema: str, fake: Callable[..., Any], flops: Callable[..., int] | None = None) -> Any:
    """Register `dasr_fast::name` (the op's own name, or a gradient's) for every device, and return it.

    The last argument names the backend whose function `name` is called with the others, out of autocast's reach:
    `autocast` has decided on the types. To `torch.compile` the op is one call; looking into it would show the
    compiler a number of groups that varies with the batch, which is more than Inductor can handle. The low-level
    registration costs 10 us a call less than `torch.library.custom_op`. `flops` tells `FlopCounterMode` the operations
    of products, twice the multiplications, from the arguments with shapes for tensors; None for an op without products.
    """

    def body(*arguments: Any) -> Any:
        with without_autocast(arguments[0].device.type):
            return function(op, arguments[-1], name)(*arguments[:-1])

    _LIBRARY.define(name + schema, tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, body, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dasr_fast::{name}", fake, lib=_LIBRARY)
    if flops is not None:
        register_flop_formula(getattr(torch.ops.dasr_fast, name))(flops)
    if name != op:
        refuse_gradient(name, f"{op}: only first derivatives are implemented; dasr_fast.reference.{op} has all.")
    return getattr(torch.ops.dasr_fast, name).default


def compute(op: str, forward: Callable[..., Tensor], backend: str, arguments: tuple[Any, ...]) -> Tensor:
    """The op's result: by `forward`, its registration, with the backend that is chosen for its arguments.

    A registered op has the derivatives of a backward pass alone. Forward-mode derivatives would be zero without a word,
    so that dual tensors, and all transforms of `torch.func`, take the mathematics of the reference instead.

    Raises:
        ValueError: No backend has that name.
        BackendError: The backend asked for can't do it; the message says why.
    """
    device = arguments[0].device.type
    if not transformed(*arguments):
        return forward(*arguments, choose(op, backend, device, arguments))
    if backend not in ("auto", "reference"):
        choose(op, backend, device, arguments)
        raise BackendError(
            f"{op}: the backend {backend} can't run: only the reference has forward-mode derivatives, and works under "
            "the transforms of torch.func."
        )
    # Tensors under `torch.vmap` can't say whether they are channels-last.
    contiguous = tuple(value.contiguous() if isinstance(value, Tensor) else value for value in arguments)
    with without_autocast(device):
        result: Tensor = function(op, "reference", op)(*contiguous)
    return result


def needs_gradient(*tensors: Tensor | None) -> bool:
    """Whether a backward pass may ask for the gradient of one of the tensors."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def differentiate(name: str, backward: Callable[..., Any], save: Callable[..., None]) -> None:
    """Give `dasr_fast::name` its gradient."""
    torch.library.register_autograd(f"dasr_fast::{name}", backward, setup_context=save, lib=_LIBRARY)


def refuse_gradient(name: str, reason: str) -> None:
    """Let the backward pass of `dasr_fast::name` raise a RuntimeError that says `reason`."""
    differentiate(name, partial(_refuse, reason), lambda ctx, inputs, output: None)


def _refuse(reason: str, *_: Any) -> None:
    raise RuntimeError(reason)


def autocast(*tensors: Any) -> tuple[Any, ...]:
    """The tensors in autocast's type where autocast is on for their device (float64 stays), as convolutions do."""
    device = tensors[0].device.type
    if not autocasts(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)

    def cast(tensor: Any) -> Any:
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or tensor.dtype == torch.float64:
            return tensor
        return tensor.to(dtype)

    return tuple(cast(tensor) for tensor in tensors)


def transformed(*values: Any) -> bool:
    """Whether a transform of `torch.func` is on, or a tensor among the values carries a forward-mode derivative."""
    if is_transformed():
        return True
    tensors = (value for value in values if isinstance(value, Tensor))
    return any(forward_ad.unpack_dual(t).tangent is not None for t in tensors)  # type: ignore[no-untyped-call]


def autocasts(device: str) -> bool:
    """Whether autocast is on for a kind of device; some, such as "meta", have none."""
    return device in _AUTOCASTING and torch.is_autocast_enabled(device)


def without_autocast(device: str) -> AbstractContextManager[Any]:
    """Where autocast is off for a kind of device."""
    return torch.autocast(device, enabled=False) if autocasts(device) else nullcontext()
