"""Captures that fail, and what must go on afterwards; run by `test_cuda_graph.py` on a GPU."""

import logging
import warnings

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CaptureError, CudaCapture
from dasr_fast.inference.graph_cache import GraphCache
from dasr_fast.training.step import WARM_UP, Losses, Repeated


def double(x: Tensor) -> Tensor:
    return 2 * x


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


if __name__ == "__main__":
    logging.basicConfig()
    fives = torch.ones(5, device="cuda")
    graphs_and_random_numbers_go_on(fives)
    memory_goes_back(fives)
    inference_goes_on(fives)
    training_goes_on()
