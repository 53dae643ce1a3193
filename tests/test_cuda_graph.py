"""CUDA graphs against plain calls, by themselves and as `GraphCache` uses them."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.inference.graph_cache import GraphCache

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


def convolve(x: Tensor, y: Tensor) -> Tensor:
    return torch.nn.functional.conv2d(x, y).relu() * 3


def multiply(x: Tensor, y: Tensor) -> Tensor:
    return (x.flatten(1) @ x.flatten(1).T).relu() + y.sum()


def halve(x: Tensor) -> Tensor:
    return x / 2


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
    """In a process of its own: what they leave there would be seen by other tests."""
    script = Path(__file__).with_name("failed_captures.py")
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)


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
            assert torch.equal(calls(halve, ones), ones / 2)
        assert calls.clear()
        torch.cuda.empty_cache()
