"""Every backend of every op that runs here, over the op's own cases and random shapes, against float64."""

import inspect
import itertools
import os
import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.utils._pytree as pytree
from hypothesis import given, settings
from hypothesis import strategies as st
from interpretation import few_programs, large_tiles, replace_once_a_launch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from dasr_fast import ops, reference
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS, INTERPRETED, BackendError, refusal
from tests.specification import SPECIFICATIONS, Case, distance
from tests.specification.blur_downsample import check_noisy

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
DEVICES = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
RUNNING = [
    pytest.param(op, backend, device, id=f"{op}-{backend}-{device}")
    for op in SPECIFICATIONS
    for backend in BACKENDS
    for device in DEVICES
    if not isinstance(IMPLEMENTATIONS[op, backend], str) and BACKENDS[backend].device in (None, device)
    if backend == "triton" or not INTERPRETED
]
CASES = [
    pytest.param(*running.values, case, id=f"{running.id}-{case.label}", marks=[pytest.mark.slow] if case.timed else [])
    for running in RUNNING
    for case in SPECIFICATIONS[str(running.values[0])].cases
    if not case.timed or (running.values[1] != "reference" and not INTERPRETED)
]
ASKED = int(os.environ.get("DASR_FAST_EXAMPLES", "0"))
EXAMPLES = ASKED or (8 if INTERPRETED or torch.cuda.is_available() else 25)
LARGER = [64, 128, 180, 256] if ASKED else []
"""Sizes of more than a tile, where more random calls are asked for."""
"""Few where Triton interprets, or compiles kernels for nearly each of them."""
dense = torch.Tensor.contiguous
every_op = pytest.mark.parametrize(("op", "backend", "device"), RUNNING)
OF_IMAGES = [param for param in RUNNING if param.values[0] == "blur_downsample"]
of_images = pytest.mark.parametrize(("op", "backend", "device"), OF_IMAGES)


pytestmark = pytest.mark.usefixtures("_poisoned")


@pytest.fixture(autouse=True)
def _bearable(monkeypatch: pytest.MonkeyPatch) -> None:
    if INTERPRETED:
        few_programs(monkeypatch)
        replace_once_a_launch(monkeypatch)


@pytest.fixture
def _large_tiles() -> Iterator[None]:
    """For tests of more than values, which others compare with small ones too."""
    with large_tiles() if INTERPRETED else nullcontext():
        yield


def running(op: str, backend: str) -> list[str]:
    """Devices on which a backend runs an op here."""
    return [str(param.values[2]) for param in RUNNING if param.values[:2] == (op, backend)]


def refused(op: str, backend: str, arguments: dict[str, Any]) -> str | None:
    """Why a backend won't compute an op for these arguments, or None."""
    device = next(iter(arguments.values())).device.type
    return refusal(op, backend, device, tuple(positional(op, arguments)))


def example(op: str, backend: str, device: str) -> dict[str, Any]:
    """Arguments of the op's first case, or of the first, in another type or layout, that the backend computes."""
    specification = SPECIFICATIONS[op]
    for case in specification.cases:
        for dtype in DTYPES[1:]:
            for layout in (torch.Tensor.contiguous, LAYOUTS["channels-last"]):
                arguments = specification.arguments(case, dtype, device)
                first = next(iter(arguments))
                arguments[first] = layout(arguments[first]) if arguments[first].dim() == 4 else arguments[first]
                if specification.general or refused(op, backend, arguments) is None:
                    return arguments
    raise AssertionError(f"{backend} computes no case of {op}")


def differentiable(arguments: dict[str, Any]) -> dict[str, Tensor]:
    return {name: t.requires_grad_() for name, t in arguments.items() if isinstance(t, Tensor)}


def positional(op: str, arguments: dict[str, Any]) -> list[Any]:
    """The arguments in the order of the reference function."""
    fallback = {"negative_slope": 0.1 if op.startswith("da_") else None, "activate": False, "mode": "bicubic"}
    return [
        arguments[name] if name in arguments else fallback.get(name, parameter.default)
        for name, parameter in inspect.signature(getattr(reference, op)).parameters.items()
    ]


def exact(op: str, arguments: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """Result of the reference function in float64 for the values that `arguments` have, and its inputs."""
    wide = {k: v.detach().cpu().double().contiguous() if isinstance(v, Tensor) else v for k, v in arguments.items()}
    inputs = differentiable(wide)
    return getattr(reference, op)(*positional(op, wide)), inputs


def exact_gradients(op: str, backend: str, arguments: dict[str, Any], y: Tensor, grad: Tensor) -> list[Tensor]:
    """Gradients in float64 of a function that gave `y`.

    Where `y` is rounding away from 0, its LeakyReLU's gradient depends on its sign, which is taken as it is.
    """
    grad = grad.cpu().double()
    if arguments.get("activate") and arguments.get("residual") is None:
        arguments = {**arguments, "activate": False}
        grad = torch.where(y.cpu() > 0, grad, grad * arguments.get("negative_slope", 0.1))
    if op == "da_half_block":
        target, inputs = exact_half_block(backend, arguments)
    else:
        target, inputs = exact(op, arguments)
    return list(torch.autograd.grad(target, list(inputs.values()), grad, allow_unused=True, materialize_grads=True))


def exact_half_block(backend: str, arguments: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
    """As `exact`; the LeakyReLU between the convolutions takes the signs that its input has when it is rounded."""
    _, inputs = exact("da_half_block", arguments)
    names, slope = ("x", "kernel", "weight", "bias", "gate"), arguments.get("negative_slope", 0.1)
    middle = reference.da_conv(*(inputs.get(name) for name in names), slope, False)
    da_conv = (arguments.get(name) for name in names)
    rounded = ops.da_conv(*da_conv, negative_slope=slope, activate=True, backend=backend).detach().cpu()
    middle = torch.where(rounded > 0, middle, middle * slope)
    conv = [inputs.get(name) for name in ("conv_weight", "conv_bias", "residual")]
    return reference.conv3x3(middle, *conv, slope if arguments.get("activate") else None), inputs


def check(op: str, backend: str, arguments: dict[str, Any], dtype: torch.dtype, lay_out: Any = dense) -> None:
    """Result and gradients against float64; `lay_out` decides on the strides of the upstream gradient."""
    limit = SPECIFICATIONS[op].tolerance[dtype]
    if not SPECIFICATIONS[op].general and (reason := refused(op, backend, arguments)) is not None:
        with pytest.raises(BackendError, match=re.escape(reason)):
            getattr(ops, op)(**arguments, backend=backend)
        return
    inputs = differentiable(arguments)
    y = getattr(ops, op)(**arguments, backend=backend)
    other = torch.Generator().manual_seed(1)  # Or the gradient would be the input.
    grad = lay_out(torch.randn(y.shape, dtype=torch.float64, generator=other).to(y))
    grads = torch.autograd.grad(y, list(inputs.values()), grad)
    assert y.dtype == dtype
    assert distance(y, exact(op, arguments)[0].detach()) <= limit
    for name, result, wanted in zip(inputs, grads, exact_gradients(op, backend, arguments, y, grad), strict=True):
        assert result.dtype == dtype, name
        assert distance(result, wanted) <= SPECIFICATIONS[op].gradients * limit, name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("op", "backend", "device", "case"), CASES)
def test_agrees_with_float64(op: str, backend: str, device: str, case: Case, dtype: torch.dtype):
    if dtype == torch.float64 and backend != "reference":
        with pytest.raises(BackendError, match="float64"):
            getattr(ops, op)(**SPECIFICATIONS[op].arguments(case, dtype, device), backend=backend)
        return
    if case.timed and op == "blur_downsample" and device == "cpu":  # For all samples the oracle takes a minute.
        case = replace(case, tensors={name: (2, *(shape or ())[1:]) for name, shape in case.tensors.items()})
    many_programs = INTERPRETED and (case.label in ("medium", "wide") or op == "blur_downsample")
    with large_tiles() if many_programs else nullcontext():
        check(op, backend, SPECIFICATIONS[op].arguments(case, dtype, device), dtype)
        if not SPECIFICATIONS[op].general:
            arguments = SPECIFICATIONS[op].arguments(case, dtype, device)
            check(op, backend, {**arguments, "x": LAYOUTS["channels-last"](arguments["x"])}, dtype)


def surrounded(x: Tensor) -> Tensor:
    """A larger tensor, NaN around `x`."""
    return torch.nn.functional.pad(x, (1, 2, 2, 1), value=torch.nan)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "sliced": lambda x: surrounded(x)[..., 2:-1, 1:-2],
    "sliced channels-last": lambda x: surrounded(x).contiguous(memory_format=torch.channels_last)[..., 2:-1, 1:-2],
    "every other channel": lambda x: torch.stack([x, x * torch.nan], 2).flatten(1, 2)[:, ::2],
}


@pytest.mark.parametrize("everything", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@every_op
def test_any_layout(op: str, backend: str, device: str, layout: str, everything: bool):
    specification = SPECIFICATIONS[op]
    first = next(iter(specification.cases[0].tensors))
    if specification.general:
        case = next(c for c in specification.cases if len(c.tensors[first] or ()) == 4)
        arguments = specification.arguments(case, torch.float32, device)
    else:
        arguments = example(op, backend, device)
    dtype = arguments[first].dtype
    for name, value in arguments.items():
        if isinstance(value, Tensor) and value.dim() == 4 and (everything or name == first):
            arguments[name] = LAYOUTS[layout](value)
    with large_tiles() if INTERPRETED else nullcontext():
        if specification.general or refused(op, backend, arguments) is None:
            y = getattr(ops, op)(**arguments, backend=backend)
            kept = torch.channels_last if layout == "channels-last" else torch.contiguous_format
            assert y.is_contiguous(memory_format=kept)
        check(op, backend, arguments, dtype, LAYOUTS[layout])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("op", "backend", "device"), [p for p in RUNNING if p.values[0] == "conv3x3"])
def test_weights_in_the_order_of_taps(op: str, backend: str, device: str, layout: str):
    shapes = {"x": (1, 16, 6, 5), "weight": (1, 16, 3, 3), "bias": None, "residual": None}
    arguments = SPECIFICATIONS[op].arguments(Case("one sample, one channel out", shapes), torch.float32, device)
    arguments["weight"] = arguments["weight"].permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    check(op, backend, {**arguments, "x": LAYOUTS[layout](arguments["x"])}, torch.float32, LAYOUTS[layout])


@every_op
def test_second_derivatives_are_refused(op: str, backend: str, device: str):
    arguments = example(op, backend, device)
    inputs = list(differentiable(arguments).values())
    y = getattr(ops, op)(**arguments, backend=backend)
    grads = torch.autograd.grad(y.square().sum(), inputs, create_graph=True)
    with pytest.raises(RuntimeError, match=f"{op}: only first derivatives are implemented"):
        grads[0].square().sum().backward()


def complete(op: str, backend: str, device: str) -> dict[str, Any]:
    """As `example`, with every optional tensor that has a gradient, and an activation."""
    arguments = example(op, backend, device)
    parameters = inspect.signature(getattr(ops, op)).parameters
    if "activate" in parameters:
        arguments["activate"] = True
    elif "negative_slope" in parameters:
        arguments["negative_slope"] = 0.1
    if "residual" in parameters:
        y = getattr(ops, op)(**arguments, backend=backend)
        # Large enough for the sum to have another sign than the activation in most places.
        arguments["residual"] = 3 * torch.randn(y.shape, device=device).to(y)
    return arguments


@pytest.mark.usefixtures("_large_tiles")
@every_op
def test_some_inputs_need_no_gradient(op: str, backend: str, device: str):
    arguments = complete(op, backend, device)
    y = getattr(ops, op)(**arguments, backend=backend)
    names = [name for name, value in arguments.items() if isinstance(value, Tensor)]
    targets = dict(zip(names, exact_gradients(op, backend, arguments, y, torch.ones_like(y)), strict=True))
    sizes = [1] if INTERPRETED else [1, len(names) - 1] if len(names) > 5 else range(1, len(names) + 1)
    for wanted in itertools.chain.from_iterable(itertools.combinations(names, size) for size in sizes):
        for name in names:
            arguments[name].requires_grad_(name in wanted)
        y = getattr(ops, op)(**arguments, backend=backend)
        for name, grad in zip(wanted, torch.autograd.grad(y.sum(), [arguments[n] for n in wanted]), strict=True):
            limit = SPECIFICATIONS[op].gradients * SPECIFICATIONS[op].tolerance[y.dtype]
            assert distance(grad, targets[name]) <= limit, (name, wanted)


class AgainstFakes(TorchDispatchMode):
    """Compares what every op of ours returns, gradients among them, with what its fake says to `torch.compile`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "dasr_fast":
            self.seen.add(func.overloadpacket.__name__)
            with FakeTensorMode() as mode:
                faked = func(*pytree.tree_map_only(Tensor, mode.from_tensor, args))
            for tensor, fake in zip(pytree.tree_leaves(result), pytree.tree_leaves(faked), strict=True):
                assert (tensor.shape, tensor.dtype, tensor.device) == (fake.shape, fake.dtype, fake.device), func
                if tensor.numel() > 0:
                    strides = zip(tensor.shape, tensor.stride(), fake.stride(), strict=True)
                    assert all(size == 1 or own == told for size, own, told in strides), (func, tensor.stride())
        return result


@pytest.mark.parametrize("layout", ["contiguous", *LAYOUTS])
@every_op
def test_results_have_the_strides_that_the_fakes_tell(op: str, backend: str, device: str, layout: str):
    lay_out = LAYOUTS.get(layout, torch.Tensor.contiguous)
    examples = (complete,) if INTERPRETED else (complete, example)
    for arguments in (make(op, backend, device) for make in examples):
        for name, value in arguments.items():
            if isinstance(value, Tensor) and value.dim() == 4:
                arguments[name] = lay_out(value)
        if not SPECIFICATIONS[op].general and refused(op, backend, arguments) is not None:
            continue
        inputs = list(differentiable(arguments).values())
        with large_tiles() if INTERPRETED else nullcontext(), AgainstFakes() as checked:
            y = getattr(ops, op)(**arguments, backend=backend)
            grad = lay_out(torch.ones_like(y)) if y.dim() == 4 else torch.ones_like(y)
            torch.autograd.grad(y, inputs, grad)
        assert not y._is_view()  # Which nobody could change in place.
        assert op in checked.seen
        assert len(checked.seen) > 1


@pytest.mark.usefixtures("_large_tiles")
@every_op
def test_activation_checkpointing(op: str, backend: str, device: str):
    arguments = example(op, backend, device)
    inputs = list(differentiable(arguments).values())
    y = checkpoint(getattr(ops, op), **arguments, backend=backend, use_reentrant=False)
    target = getattr(ops, op)(**arguments, backend=backend)
    for grad, wanted in zip(
        torch.autograd.grad(y.sum(), inputs), torch.autograd.grad(target.sum(), inputs), strict=True
    ):
        assert torch.equal(grad, wanted)


@pytest.mark.usefixtures("_large_tiles")
@every_op
def test_opcheck(op: str, backend: str, device: str):
    of_cases = [SPECIFICATIONS[op].arguments(case, torch.float32, device) for case in SPECIFICATIONS[op].cases[:2]]
    for arguments in of_cases if SPECIFICATIONS[op].general else [example(op, backend, device)]:
        differentiable(arguments)
        torch.library.opcheck(getattr(torch.ops.dasr_fast, op).default, (*positional(op, arguments), backend))


@pytest.mark.parametrize("dynamic", [False, True])
@every_op
def test_compiles_to_one_graph(op: str, backend: str, device: str, dynamic: bool):
    compare_compiled(op, backend, device, dynamic=dynamic, backend="aot_eager")


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", SPECIFICATIONS)
def test_inductor_compiles_the_graph(op: str, device: str):
    compare_compiled(op, "auto", device, dynamic=True)


def compare_compiled(op: str, by: str, device: str, **options: Any) -> None:
    """Compile the op alone and in a loss; compare both with float64."""
    torch.compiler.reset()
    arguments = example(op, "reference" if by == "auto" else by, device)
    inputs = differentiable(arguments)

    def loss(**arguments: Any) -> tuple[Tensor, Tensor]:
        y = getattr(ops, op)(**arguments, backend=by)
        return y, y.square().sum()

    y, value = torch.compile(loss, fullgraph=True, **options)(**arguments)
    limit = SPECIFICATIONS[op].gradients * SPECIFICATIONS[op].tolerance[y.dtype]
    assert distance(y, exact(op, arguments)[0].detach()) <= limit
    grads = torch.autograd.grad(value, list(inputs.values()))
    wanted = exact_gradients(op, "reference" if by == "auto" else by, arguments, y.detach(), 2 * y.detach())
    for name, grad, target in zip(inputs, grads, wanted, strict=True):
        assert distance(grad, target) <= limit, name


@every_op
def test_autocast(op: str, backend: str, device: str):
    arguments = {k: v.float() if isinstance(v, Tensor) else v for k, v in example(op, backend, device).items()}
    inputs = differentiable(arguments)
    with torch.autocast(device, dtype=torch.bfloat16):
        y = getattr(ops, op)(**arguments, backend=backend)
    assert y.dtype == (torch.float32 if op == "blur_downsample" else torch.bfloat16)
    assert distance(y, exact(op, arguments)[0].detach()) < 0.02
    grads = torch.autograd.grad(y.float().sum(), list(inputs.values()))
    assert all(grad.dtype == torch.float32 for grad in grads)


@every_op
def test_gradients_of_the_registered_op(op: str, backend: str, device: str):
    if backend != "reference":
        pytest.skip("float64 is the reference's")
    case = next(c for c in SPECIFICATIONS[op].cases if c.label == "one pixel" or c.label == "one LR pixel")
    arguments = SPECIFICATIONS[op].arguments(case, device=device)
    inputs = differentiable(arguments)

    def function(*tensors: Tensor) -> Tensor:
        return getattr(ops, op)(**{**arguments, **dict(zip(inputs, tensors, strict=True))}, backend=backend)

    assert torch.autograd.gradcheck(function, tuple(inputs.values()))


sizes = st.integers(1, 9)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    b=st.integers(0, 3),
    c=st.sampled_from([*range(1, 10), 17, *LARGER]),
    h=st.sampled_from([*range(1, 10), *LARGER[:2]]),
    w=st.sampled_from([*range(1, 10), 17, *LARGER[:2]]),
    k=st.sampled_from([1, 3, 5, 7]),
    dtype=st.sampled_from(DTYPES[1:]),
    layout=st.sampled_from(["contiguous", *LAYOUTS]),
    seed=sizes,
)
def test_features_of_any_shape(
    backend: str, b: int, c: int, h: int, w: int, k: int, dtype: torch.dtype, layout: str, seed: int
):
    x, kernel = (b, c, h, w), (b, c, k, k)
    pointwise = {"x": x, "kernel": kernel, "weight": (c, c), "bias": (c,), "gate": (b, c)}
    calls = {
        "dynamic_depthwise_conv": Case("", {"x": x, "kernel": kernel}, {"negative_slope": 0.1}),
        "channel_modulation": Case("", {"x": x, "gate": (b, c), "residual": x}),
        "da_conv": Case("", pointwise, {"activate": True}),
        "da_half_block": Case(
            "", {**pointwise, "conv_weight": (c, c, 3, 3), "conv_bias": (c,), "residual": x}, {"activate": True}
        ),
    }
    for op, case in calls.items():
        for device in running(op, backend):
            arguments = SPECIFICATIONS[op].arguments(case, dtype, device, seed)
            lay_out = LAYOUTS.get(layout, torch.Tensor.contiguous)
            check(op, backend, {**arguments, "x": lay_out(arguments["x"])}, dtype, lay_out)


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=EXAMPLES, deadline=None, derandomize=True)
@given(
    b=st.integers(0, 3),
    h=st.integers(4, max(24, *LARGER, 0)),
    w=st.integers(4, max(24, *LARGER, 0)),
    k=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    scale=st.integers(1, 4),
    mode=st.sampled_from(["bicubic", "s-fold"]),
)
def test_images_of_any_shape(backend: str, b: int, h: int, w: int, k: tuple[int, int], scale: int, mode: str):
    for device in running("blur_downsample", backend):
        case = Case("", {"hr": (b, 2, 1, h, w), "kernel": (b, *k)}, {"scale": scale, "mode": mode})
        arguments = SPECIFICATIONS["blur_downsample"].arguments(case, torch.float32, device)
        check("blur_downsample", backend, arguments, torch.float32)


def images(device: str) -> dict[str, Any]:
    specification = SPECIFICATIONS["blur_downsample"]
    return specification.arguments(specification.cases[0], torch.float32, device)


@of_images
def test_images_of_whole_numbers(op: str, backend: str, device: str):
    arguments = images(device)
    whole = ops.blur_downsample(**{**arguments, "hr": arguments["hr"].byte()}, backend=backend)
    assert whole.dtype == torch.float32
    torch.testing.assert_close(whole, ops.blur_downsample(**arguments, backend=backend))


@pytest.mark.parametrize("quantize", [False, True])
@of_images
def test_noise(op: str, backend: str, device: str, quantize: bool):
    arguments = images(device)
    clean = exact(op, arguments)[0].detach()
    noise = torch.randn(clean.shape, device=device)
    level = torch.tensor([200.0, 3.0], device=device)
    y = ops.blur_downsample(**arguments, noise=noise, level=level, quantize=quantize, backend=backend).cpu()
    noisy = clean + noise.cpu().double() * level.cpu().double()[:, None, None, None, None]
    check_noisy(y, noisy, quantize=quantize)


@of_images
def test_noise_does_not_change_gradients(op: str, backend: str, device: str):
    arguments = images(device)
    inputs = list(differentiable(arguments).values())
    y = ops.blur_downsample(**arguments, backend=backend)
    noisy = ops.blur_downsample(**arguments, noise=torch.randn_like(y), backend=backend)
    for grad, wanted in zip(
        torch.autograd.grad(noisy.sum(), inputs), torch.autograd.grad(y.sum(), inputs), strict=True
    ):
        assert torch.equal(grad, wanted)
    assert not ops.blur_downsample(**arguments, quantize=True, backend=backend).requires_grad
