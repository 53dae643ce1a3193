"""CUDA graphs against plain calls, by themselves and as `GraphCache` uses them."""

import logging
import subprocess
import sys
import warnings
from collections.abc import Callable
from threading import Thread

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CaptureError, CudaCapture
from dasr_fast.inference.graph_cache import GraphCache
from dasr_fast.training.step import WARM_UP, Losses, Repeated

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def convolve(x: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x, y).relu() * 3


def multiply(x: Tensor, y: Tensor) -> Tensor:
    return (x.flatten(1) @ x.flatten(1).T).relu() + y.sum()


def double(x: Tensor) -> Tensor:
    return 2 * x


@pytest.fixture
def kernel() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(8, 3, 3, 3, device="cuda")


def images(*sides: int) -> list[Tensor]:
    return [torch.randn(2, 3, side, side, device="cuda") for side in sides]


def test_replays_equal_plain_calls_on_any_stream_and_are_kept(kernel: Tensor):
    capture: CudaCapture[Tensor] = CudaCapture()
    inputs = images(32, 40)
    for image in inputs:
        capture.run(convolve, image, kernel)
    graphs = [capture(convolve, image, kernel) for image in inputs]
    assert graphs[0].graph.pool() == graphs[1].graph.pool()
    others = [2 * image for image in inputs]
    results = [graph(image, kernel) for graph, image in zip(graphs * 2, inputs + others, strict=True)]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        results += [graph(image, kernel) for graph, image in zip(graphs, inputs, strict=True)]
    torch.cuda.synchronize()
    for image, result in zip(inputs + others + inputs, results, strict=True):
        assert torch.equal(result, convolve(image, kernel))


def test_named_results_and_changes_in_place():
    total = torch.zeros(3, device="cuda")

    def add(x: Tensor) -> dict[str, Tensor]:
        total.add_(x)
        return {"total": total, "twice": 2 * x}

    capture: CudaCapture[dict[str, Tensor]] = CudaCapture()
    ones = torch.ones(3, device="cuda")
    capture.run(add, ones)
    graph = capture(add, ones)
    assert total.tolist() == [1, 1, 1]
    results = [graph(ones), graph(2 * ones)]
    assert [result["total"].tolist() for result in results] == [[2, 2, 2], [4, 4, 4]]
    assert [result["twice"].tolist() for result in results] == [[2, 2, 2], [4, 4, 4]]


def test_graphs_outlive_inference_mode(kernel: Tensor):
    capture: CudaCapture[Tensor] = CudaCapture()
    (image,) = images(32)
    with torch.inference_mode():
        capture.run(convolve, image, kernel)
        graph = capture(convolve, image, kernel)
        graph(image, kernel)
    assert torch.equal(graph(image, kernel), convolve(image, kernel))


def test_captures_that_fail():
    """In a process of its own, which runs this file: what they leave there would be seen by other tests."""
    subprocess.run([sys.executable, __file__], check=True, timeout=120)


def impatient(x: Tensor) -> Tensor:
    """Waits for the GPU, which no graph can."""
    torch.cuda.current_stream().synchronize()
    return 5 * x


def raises(x: Tensor) -> Tensor:
    """Fails by itself, while its capture could go on."""
    raise ValueError(f"{x.shape[0]} are too many")


def graphs_and_random_numbers_go_on(ones: Tensor) -> None:
    capture: CudaCapture[Tensor] = CudaCapture()
    before = capture(double, ones)
    stream = torch.cuda.current_stream()
    for function, words in ((impatient, "captur"), (raises, "5 are too many")):
        with pytest.raises(CaptureError, match=words):
            capture(function, ones)
        assert torch.cuda.current_stream() == stream
        assert torch.equal(before(3 * ones), 6 * ones)
        assert torch.randn(1000, device="cuda").std() > 0.5
        assert torch.equal(capture(double, ones)(ones), 2 * ones)


def memory_goes_back(ones: Tensor) -> None:
    """Of blocks that another stream has used, after captures that failed."""
    side = torch.cuda.Stream()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    for _ in range(5):
        block = torch.ones(2**20, device="cuda")
        block.record_stream(side)
        del block
    torch.cuda.synchronize()
    block = torch.ones(2**20, device="cuda")  # Allocating looks for what has become free.
    assert torch.cuda.memory_allocated() - before <= 2 * block.nbytes


def inference_goes_on(ones: Tensor) -> None:
    calls = GraphCache(CudaCapture())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(4):
            assert torch.equal(calls(impatient, ones), 5 * ones)
            assert torch.equal(calls(double, ones), 2 * ones)
    assert ["without a CUDA graph" in str(one.message) for one in caught] == [True], caught


def training_goes_on() -> None:
    weight = torch.ones(3, device="cuda", requires_grad=True)

    def step(x: Tensor) -> Losses:
        loss = (weight * x).sum()
        loss.backward()
        torch.cuda.current_stream().synchronize()
        return {"loss": loss.detach()}

    repeated = Repeated(step, CudaCapture())
    stream = torch.cuda.current_stream()
    losses = [repeated(torch.full((3,), float(i), device="cuda"))["loss"].item() for i in range(WARM_UP + 3)]
    assert losses == [3.0 * i for i in range(WARM_UP + 3)]
    assert torch.cuda.current_stream() == stream


def test_threads_and_functions_share_memory_but_not_results(kernel: Tensor):
    calls = GraphCache(CudaCapture())
    inputs = images(32, 40, 48)
    expected = {(f, i): f(image, kernel) for f in (convolve, multiply) for i, image in enumerate(inputs)}
    torch.cuda.synchronize()
    wrong: list[tuple[Callable[..., Tensor], int]] = []

    def work() -> None:
        with torch.cuda.stream(torch.cuda.Stream()):
            for _ in range(20):
                for (function, i), target in expected.items():
                    result = calls(function, inputs[i], kernel)
                    if not torch.allclose(result, target, rtol=1e-3, atol=1e-3):
                        wrong.append((function, i))

    threads = [Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_capturing_again_after_all_graphs_are_gone():
    calls = GraphCache(CudaCapture())
    ones = torch.ones(5, device="cuda")
    for _ in range(3):
        for _ in range(3):
            assert torch.equal(calls(double, ones), 2 * ones)
        assert calls.clear()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    logging.basicConfig()
    fives = torch.ones(5, device="cuda")
    graphs_and_random_numbers_go_on(fives)
    memory_goes_back(fives)
    inference_goes_on(fives)
    training_goes_on()
