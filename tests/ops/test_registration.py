"""Derivatives beyond those of a backward pass: forward mode, and the transforms of `torch.func`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from dasr_fast import ops
from dasr_fast.ops.backends import IMPLEMENTATIONS, BackendError
from dasr_fast.ops.gaussian_kernel import gaussian_kernel
from tests.specification import SPECIFICATIONS

Call = tuple[Callable[..., Tensor], tuple[Tensor, ...]]

every_op = pytest.mark.parametrize("op", SPECIFICATIONS)


def call(op: str, dtype: torch.dtype = torch.float32, **options: Any) -> Call:
    """An op as a function of its tensors, and tensors for it."""
    arguments = SPECIFICATIONS[op].arguments(SPECIFICATIONS[op].cases[0], dtype)
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    return (
        lambda *values: getattr(ops, op)(**{**arguments, **dict(zip(tensors, values, strict=True))}, **options),
        tuple(tensors.values()),
    )


def changes(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(map(torch.randn_like, tensors))


@every_op
def test_forward_mode_agrees_with_finite_differences(op: str):
    function, tensors = call(op, torch.float64)
    along = changes(tensors)
    step = 1e-6
    ahead, behind = (
        function(*(tensor + sign * step * change for tensor, change in zip(tensors, along, strict=True)))
        for sign in (1, -1)
    )
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(function(*map(forward_ad.make_dual, tensors, along))).tangent
    assert tangent is not None
    torch.testing.assert_close(tangent, (ahead - behind) / (2 * step), rtol=1e-5, atol=1e-6)
    singles = (tuple(tensor.float() for tensor in given) for given in (tensors, along))
    y, single = torch.func.jvp(function, *singles)
    torch.testing.assert_close(y.double(), function(*tensors), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(single.double(), tangent, rtol=1e-4, atol=1e-4)


@every_op
def test_functional_gradients_and_batches(op: str):
    function, tensors = call(op)
    which = tuple(range(len(tensors)))

    def loss(*values: Tensor) -> Tensor:
        return function(*values).square().mean()

    inputs = [tensor.clone().requires_grad_() for tensor in tensors]
    expected = torch.autograd.grad(loss(*inputs), inputs)
    grads = torch.func.grad(loss, which)(*tensors)
    torch.testing.assert_close(grads, expected, rtol=1e-4, atol=1e-4)
    two = tuple(torch.stack((tensor, tensor.roll(1, 0))) for tensor in tensors)
    batched = torch.vmap(function)(*two)
    torch.testing.assert_close(batched[0], function(*tensors), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(batched[1], function(*(pair[1] for pair in two)), rtol=1e-5, atol=1e-5)
    of_batch = torch.vmap(torch.func.grad(loss, which))(*two)
    torch.testing.assert_close([grad[0] for grad in of_batch], list(expected), rtol=1e-4, atol=1e-4)


@every_op
def test_another_backend_says_that_it_has_no_forward_mode(op: str):
    if isinstance(IMPLEMENTATIONS[op, "cpp"], str):
        pytest.skip("the backend is off")
    function, tensors = call(op, backend="cpp")
    with pytest.raises(BackendError, match=f"{op}: the backend cpp can't run: only the reference has forward-mode"):
        torch.func.jvp(function, tensors, changes(tensors))


def test_forward_mode_under_compilation():
    function, tensors = call("dynamic_depthwise_conv")
    along = changes(tensors)

    def derivative(*values: Tensor) -> Tensor:
        return torch.func.jvp(function, values, along)[1]

    compiled = torch.compile(derivative, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*tensors), derivative(*tensors))


def test_forward_mode_of_blur_kernels():
    width, theta = torch.tensor([1.5, 0.7]), torch.zeros(2)

    def kernels(sigma: Tensor) -> Tensor:
        return gaussian_kernel(sigma, None, theta, 7)

    _, tangent = torch.func.jvp(kernels, (width,), (torch.ones(2),))
    difference = (kernels(width + 1e-2) - kernels(width - 1e-2)) / 2e-2
    torch.testing.assert_close(tangent, difference, rtol=1e-2, atol=1e-4)
