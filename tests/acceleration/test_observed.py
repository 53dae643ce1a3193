"""Where somebody follows or transforms operations, replaced modules compute by their own forward."""

import copy
import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.autograd import forward_ad
from torch.export import Dim
from torch.func import functional_call, grad, jvp, vmap
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.flop_counter import FlopCounterMode

import dasr_fast
from tests.released.network import Blind, Contrast, Group

LR = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0)) * 255


def pair(inference: bool) -> tuple[nn.Module, nn.Module]:
    """A fresh accelerated model, and the original."""
    return copy.deepcopy(accelerated(inference))


@functools.cache
def accelerated(inference: bool) -> tuple[nn.Module, nn.Module]:
    original = Blind(2, 1, 1).eval().requires_grad_(False)
    return dasr_fast.accelerate(copy.deepcopy(original), inference=inference), original


def fake(model: nn.Module) -> Tensor:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        shape = model(mode.from_tensor(LR)).shape
    return torch.tensor(shape)


def tangent(model: nn.Module) -> Tensor:
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(model(forward_ad.make_dual(LR, torch.ones_like(LR)))).tangent


def floating_point_operations(model: nn.Module) -> Tensor:
    with FlopCounterMode(display=False) as counter:
        model(LR)
    return torch.tensor(counter.get_total_flops())


def calls_of_modules(model: nn.Module) -> Tensor:
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(module))
    try:
        model(LR)
    finally:
        handle.remove()
    return torch.tensor(len(seen))


OBSERVED: dict[str, Callable[[nn.Module], Tensor]] = {
    "export": lambda model: torch.export.export(model, (LR,)).module()(LR),
    "strict export": lambda model: torch.export.export(model, (LR,), strict=True).module()(LR),
    "jit.trace": lambda model: torch.jit.trace(model, LR, check_trace=False)(LR),
    "make_fx": lambda model: make_fx(model)(LR)(LR),
    "fake tensors": fake,
    "grad": lambda model: grad(lambda lr: model(lr).sum())(LR),
    "grad of weights": lambda model: grad(lambda bias: functional_call(model, {"G.head.0.bias": bias}, (LR,)).mean())(
        torch.ones(64)
    ),
    "vmap": lambda model: vmap(model)(torch.stack([LR, LR + 1])),
    "jvp": lambda model: jvp(model, (LR,), (torch.ones_like(LR),))[1],
    "forward-mode differentiation": tangent,
    "FLOP counter": floating_point_operations,
    "hook on all modules": calls_of_modules,
}


def told(inference: bool, words: str = "") -> AbstractContextManager[Any]:
    """A model that computes by the engine says once why it doesn't."""
    message = f"by its own forward, not by the engine: {words}"
    return pytest.warns(RuntimeWarning, match=message) if inference else nullcontext()


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "strict export" else ()) for name in OBSERVED]
)
@pytest.mark.filterwarnings("ignore:.*TorchScript", "ignore:.*torch.jit")
def test_the_original_computes(name: str, inference: bool):
    model, original = pair(inference)
    expected = OBSERVED[name](original)
    with told(inference):
        result = OBSERVED[name](model)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("inference", [False, True])
def test_compilation_of_a_fresh_model(inference: bool):
    model, original = pair(inference)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    with told(inference, r".*torch\.compile wants to see its operations"):
        result = compiled(LR)
    torch.testing.assert_close(result, original(LR), rtol=0, atol=0.02)


@pytest.mark.parametrize("own", [False, True])
def test_exported_programs_are_for_any_size(own: bool):
    model, original = 2 * (dasr_fast.models.DASR(2, groups=1, blocks=1).eval(),) if own else pair(False)
    v = [torch.randn(2, 256)] if own else []
    sizes = ({2: Dim("height", min=8, max=99), 3: Dim("width", min=8, max=99)}, *(None for _ in v))
    program = torch.export.export(model, (torch.rand(2, 3, 24, 20), *v), dynamic_shapes=sizes).module()
    for shape in ((2, 3, 50, 60), (2, 3, 9, 10)):  # On both sides of where the collapsed tail begins.
        lr = torch.rand(shape) * 255
        torch.testing.assert_close(program(lr, *v), original(lr, *v), rtol=0, atol=0.02)


def test_signatures_stay():
    for model in (Blind(2, 1, 1), Contrast(), Group(16, 1)):
        expected = inspect.signature(model.forward)
        assert inspect.signature(dasr_fast.accelerate(model).forward) == expected


def test_a_hook_on_all_modules_while_accelerating_lets_nothing_through():
    model: Any = Group(16, 1)
    handle = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        dasr_fast.accelerate(model)
    finally:
        handle.remove()
    assert not dasr_fast.inference.report(model).replaced
    assert "a hook on all modules wants to see its own operations" in str(dasr_fast.inference.report(model))
    assert dasr_fast.inference.report(dasr_fast.accelerate(model)).replaced[""] == "DAG"
