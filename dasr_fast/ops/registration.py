"""Registration of an op and its gradients with PyTorch, and what PyTorch's modes do to a call."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from dasr_fast.compiled.schemas import schema
from dasr_fast.ops.backends import function
from dasr_fast.ops.checks import Argument, is_activated
from dasr_fast.torch_state import PLAIN, is_transformed, observer

# Asked once: torch.compile of PyTorch 2.11 can't trace the question.
_AUTOCASTING = tuple(kind for kind in ("cpu", "cuda", "mps", "xpu") if torch.amp.is_autocast_available(kind))
_LIBRARY: Any = torch.library.Library("dasr_fast", "FRAGMENT")  # type: ignore[no-untyped-call]


class Gradient(NamedTuple):
    """Which tensors' gradients a registered function gives, and the names of what it needs for them."""

    of: Sequence[str]
    needed: Sequence[str]
    function: Callable[..., Any]


def define(
    op: str, implementation: Callable[..., Any], fake: Callable[..., Any], flops: Callable[..., int] | None
) -> Callable[..., Any]:
    """Register `dasr_fast::<name>` for every device, the op's reference or one of its gradients, and return it.

    It takes the arguments of `implementation`, whose name it has, and the name of a backend, which is called out of
    autocast's reach: `autocast` has decided on the types. To `torch.compile` the op is one call; looking into it would
    show the compiler a number of groups that varies with the batch, which is more than Inductor can handle. The
    low-level registration costs 10 us a call less than `torch.library.custom_op`. `FlopCounterMode` counts by `flops`.
    """
    name = implementation.__name__

    def body(*arguments: Any) -> Any:
        with without_autocast(arguments[0].device.type):
            return function(op, arguments[-1], name)(*arguments[:-1])

    _LIBRARY.define(schema(implementation, "str backend"), tags=(torch.Tag.pt2_compliant_tag,))
    _LIBRARY.impl(name, body, "CompositeExplicitAutograd")
    torch.library.register_fake(f"dasr_fast::{name}", fake, lib=_LIBRARY)
    registered = getattr(torch.ops.dasr_fast, name)
    if flops is not None:
        register_flop_formula(registered)(lambda *shapes, **_: flops(*shapes))
    if name != op:
        reason = f"{op}: only first derivatives are implemented; dasr_fast.reference.{op} has all."
        _give_gradient(name, partial(_refuse, reason), lambda ctx, inputs, output: None)
    default: Callable[..., Any] = registered.default
    return default


def differentiate(op: str, arguments: Sequence[Argument], gradients: Sequence[Gradient]) -> None:
    """Give `dasr_fast::<op>` its gradients, which save what they need by name."""
    names = [*(argument.name for argument in arguments), "backend"]
    tensors = [argument.name for argument in arguments if argument.kind is Tensor]
    kept = [name for name in (*tensors, "y") if any(name in gradient.needed for gradient in gradients)]

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        given = dict(zip(names, inputs, strict=True))
        given["y"] = output if is_activated(given) else None
        ctx.save_for_backward(*(given[name] for name in kept))
        ctx.others = {name: given[name] for name in names if name not in tensors}

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        asked = dict(zip(names, ctx.needs_input_grad, strict=True))
        given = {**ctx.others, **dict(zip(kept, ctx.saved_tensors, strict=True)), "grad": grad}
        results: dict[str, Tensor] = {"residual": grad}
        for of, needed, compute in gradients:
            given["wanted"] = [asked[name] for name in of]
            if any(given["wanted"]):
                found = compute(*(given[name] for name in needed), given["backend"])
                results.update(zip(of, found if len(of) > 1 else (found,), strict=True))
        return tuple(results.get(name) if asked[name] else None for name in names)

    _give_gradient(op, backward, save)


def _give_gradient(name: str, backward: Callable[..., Any], save: Callable[..., None]) -> None:
    torch.library.register_autograd(f"dasr_fast::{name}", backward, setup_context=save, lib=_LIBRARY)


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


def is_followed(*values: Any) -> bool:
    """Whether somebody sees the operations of a call, or a tensor among the values gives them a meaning of its own."""
    if torch.compiler.is_compiling() or observer() is not None:
        return True
    return any(isinstance(value, Tensor) and type(value) not in PLAIN for value in values)


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
