"""What only a GPU can show: streams, devices, tensors of more than 2^31 elements, results that repeat."""

from typing import Any

import pytest
import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.ops.backends import state
from tests.specification import SPECIFICATIONS

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")

CALLS = [(op, name) for op in SPECIFICATIONS for name in ("triton", "cuda")]
every_op = pytest.mark.parametrize(("op", "backend"), CALLS)
every_backend = pytest.mark.parametrize("backend", ["triton", "cuda"])
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@pytest.fixture(autouse=True)
def _deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    """`da_half_block` leaves some of its gradients to cuDNN."""
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


def arguments_of(op: str, device: str = "cuda") -> dict[str, Any]:
    """In float32; for ops whose backends may refuse that, features in float16 and channels-last."""
    case = next(case for case in SPECIFICATIONS[op].cases if case.label == "medium")
    if SPECIFICATIONS[op].general:
        return SPECIFICATIONS[op].arguments(case, torch.float32, device)
    arguments = SPECIFICATIONS[op].arguments(case, torch.float16, device)
    return {**arguments, "x": arguments["x"].contiguous(memory_format=torch.channels_last)}


def skip_if_off(op: str, backend: str) -> None:
    reason = state(op, backend)
    if reason is not None:
        pytest.skip(reason)


def gradients(op: str, backend: str, arguments: dict[str, Any]) -> list[Tensor]:
    """The result and its gradients."""
    skip_if_off(op, backend)
    inputs = [tensor.requires_grad_() for tensor in arguments.values() if isinstance(tensor, Tensor)]
    y = getattr(ops, op)(**arguments, backend=backend)
    return [y.detach(), *torch.autograd.grad(y.float().square().sum(), inputs)]


def on_another_stream(op: str, backend: str, arguments: dict[str, Any]) -> list[Tensor]:
    """The same, computed on a stream of its own, for which the present one waits."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        results = gradients(op, backend, arguments)
    torch.cuda.current_stream().wait_stream(stream)
    return results


@every_op
def test_repeats_bit_by_bit(op: str, backend: str):
    first = gradients(op, backend, arguments_of(op))
    for _ in range(20):
        assert all(torch.equal(a, b) for a, b in zip(gradients(op, backend, arguments_of(op)), first, strict=True))


@every_op
def test_another_stream(op: str, backend: str):
    arguments = arguments_of(op)
    target = gradients(op, backend, arguments)
    results = on_another_stream(op, backend, arguments)
    assert all(torch.equal(a, b) for a, b in zip(results, target, strict=True))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
@every_op
def test_another_device(op: str, backend: str):
    target = gradients(op, backend, arguments_of(op))
    results = gradients(op, backend, arguments_of(op, "cuda:1"))
    assert all(result.device.index == 1 for result in results)
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(results, target, strict=True))


@every_op
def test_graph_of_forward_and_backward(op: str, backend: str):
    arguments = arguments_of(op)
    target = gradients(op, backend, arguments)
    on_another_stream(op, backend, arguments)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = gradients(op, backend, arguments)
    for result in results:
        result.fill_(torch.nan)
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(results, target, strict=True))


large = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.mem_get_info()[1] < 60 * 2**30, reason="less than 60 GiB of GPU memory"
)


@large
@every_backend
@pytest.mark.parametrize("layout", LAYOUTS)
def test_features_of_more_than_2_31_elements(layout: str, backend: str):
    skip_if_off("da_conv", backend)
    size, strip = 5800, 24
    assert 64 * size**2 > 2**31
    draw = SPECIFICATIONS["da_conv"].draw
    generator = torch.Generator().manual_seed(0)
    shapes = {"kernel": (1, 64, 3, 3), "weight": (64, 64), "bias": (64,), "gate": (1, 64)}
    rest = {name: draw(name, shape, generator).to("cuda", torch.float16) for name, shape in shapes.items()}
    x = torch.randn(1, 64, 1, size, device="cuda", dtype=torch.float16).expand(1, 64, size, size)
    x = x.contiguous(memory_format=LAYOUTS[layout])
    x[:, :, -strip:] = torch.randn(1, 64, strip, size, device="cuda", dtype=torch.float16)
    y = ops.da_conv(x, **rest, activate=True, backend=backend)
    target = ops.da_conv(x[:, :, -strip:].float(), **{k: v.float() for k, v in rest.items()}, backend="reference")
    target = torch.nn.functional.leaky_relu(target, 0.1)
    assert (y[:, :, 1 - strip :].float() - target[:, :, 1:]).norm() <= 1e-3 * target.norm()
    grad = y * 2**-12  # So that sums over all pixels are numbers of float16.
    grad_x, grad_kernel = torch.ops.dasr_fast.dynamic_depthwise_conv_backward(grad, x, rest["kernel"], x, None, backend)
    assert torch.isfinite(grad_kernel).all()
    part, _ = torch.ops.dasr_fast.dynamic_depthwise_conv_backward(
        grad[:, :, -strip:].float(),
        x[:, :, -strip:].float(),
        rest["kernel"].float(),
        x[:, :, -strip:],
        None,
        "reference",
    )
    assert (grad_x[:, :, 1 - strip :].float() - part[:, :, 1:]).norm() <= 1e-3 * part.norm()


@large
@every_backend
def test_images_of_more_than_2_31_elements(backend: str):
    skip_if_off("blur_downsample", backend)
    size, strip = 33000, 64
    assert 2 * size**2 > 2**31
    hr = torch.randint(256, (1, 3, 1, size), device="cuda", dtype=torch.uint8).expand(1, 3, size, size).contiguous()
    hr[:, :, -strip:] = torch.randint(256, (1, 3, strip, size), device="cuda", dtype=torch.uint8)
    kernel = torch.rand(1, 21, 21, device="cuda")
    kernel /= kernel.sum()
    y = ops.blur_downsample(hr, kernel, 4, backend=backend)[:, :, -4:]
    target = ops.blur_downsample(hr[:, :, -strip:].double(), kernel.double(), 4, backend="reference")[:, :, -4:]
    assert (y - target).norm() <= 2e-6 * target.norm()
