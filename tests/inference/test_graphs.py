"""The cache with captures that only count, and on a GPU the captures themselves."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dasr_fast.inference import graphs
from dasr_fast.inference.graphs import Capture, Graphs


class Recorder:
    """Makes replays that call the function and note it; says which of them are still held."""

    def __init__(self) -> None:
        self.captured: list[int] = []
        self.replayed: list[int] = []
        self.released: list[int] = []

    def __call__(self, function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> "Replay":
        self.captured.append(len(inputs[0]))
        return Replay(self, function, len(inputs[0]))


class Replay:
    def __init__(self, recorder: Recorder, function: Callable[..., Tensor], size: int) -> None:
        self.recorder, self.function, self.size = recorder, function, size

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.recorder.replayed.append(self.size)
        return self.function(*inputs)

    def __del__(self) -> None:
        self.recorder.released.append(self.size)


def halve(x: Tensor) -> Tensor:
    return x / 2


def test_the_second_call_captures_and_later_ones_replay():
    recorder = Recorder()
    cached = Graphs(halve, recorder)
    for i in range(4):
        assert torch.equal(cached(torch.full((3,), 2.0 * i)), torch.full((3,), float(i)))
    assert recorder.captured == [3]
    assert recorder.replayed == [3, 3, 3]


def test_shapes_and_types_of_all_inputs_tell_graphs_apart():
    recorder = Recorder()
    cached = Graphs(torch.add, recorder)
    inputs = [
        (torch.ones(2, 1), torch.ones(3)),
        (torch.ones(2, 1), torch.ones(4)),
        (torch.ones(2, 1).double(), torch.ones(3)),
    ]
    for pair in inputs:
        cached(*pair)
    assert recorder.captured == []
    for pair in inputs:
        cached(*pair)
    assert len(recorder.captured) == 3


def test_the_shape_used_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "LIMIT", 2)
    recorder = Recorder()
    cached = Graphs(halve, recorder)
    for size in (1, 1, 2, 2, 1, 3):
        cached(torch.ones(size))
    assert recorder.released == [2]
    cached(torch.ones(1))
    assert recorder.captured == [1, 2]
    cached(torch.ones(2))
    cached(torch.ones(2))
    assert recorder.captured == [1, 2, 2]


def test_clear_releases_all():
    recorder = Recorder()
    cached = Graphs(halve, recorder)
    for size in (1, 1, 2, 2):
        cached(torch.ones(size))
    cached.clear()
    assert sorted(recorder.released) == [1, 2]
    cached(torch.ones(1))
    assert recorder.captured == [1, 2]


def test_large_inputs_are_not_captured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graphs, "LARGEST", 10)
    recorder = Recorder()
    cached = Graphs(halve, recorder)
    for size in (10, 10, 11, 11):
        assert torch.equal(cached(torch.ones(size)), torch.full((size,), 0.5))
    assert recorder.captured == [10]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_replays_equal_plain_calls_and_are_kept():
    def function(x: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(x, y).relu() * 3

    cached = Graphs(function, Capture())
    kernel = torch.randn(8, 3, 3, 3, device="cuda")
    images = [torch.randn(1, 3, size, size, device="cuda") for size in (32, 40, 32, 40, 32, 40, 32)]
    results = [cached(image, kernel) for image in images]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        results += [cached(image, kernel) for image in images]
    torch.cuda.synchronize()
    for image, result in zip(images * 2, results, strict=True):
        assert torch.equal(result, function(image, kernel))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_pool_that_lost_all_its_graphs_is_replaced():
    cached = Graphs(halve, Capture())
    for _ in range(3):
        for _ in range(3):
            assert torch.equal(cached(torch.ones(5, device="cuda")), torch.full((5,), 0.5, device="cuda"))
        cached.clear()
        torch.cuda.empty_cache()
