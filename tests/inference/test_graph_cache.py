"""The cache of graphs, with captures that only count."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CaptureError
from dasr_fast.inference import graph_cache
from dasr_fast.inference.graph_cache import WARM_UP, GraphCache

Function = Callable[..., Tensor]


class Recorder:
    """Makes replays that call the function and note it; says which of them are still held."""

    def __init__(self) -> None:
        self.warmed: list[int] = []
        self.captured: list[int] = []
        self.replayed: list[int] = []
        self.released: list[int] = []

    def run(self, function: Function, *inputs: Tensor) -> Tensor:
        self.warmed.append(len(inputs[0]))
        return function(*inputs)

    def __call__(self, function: Function, *inputs: Tensor) -> "Replay":
        self.captured.append(len(inputs[0]))
        return Replay(self, function, len(inputs[0]))


class Replay:
    def __init__(self, recorder: Recorder, function: Function, size: int) -> None:
        self.recorder, self.function, self.size = recorder, function, size

    def __call__(self, *inputs: Tensor) -> Tensor:
        self.recorder.replayed.append(self.size)
        return self.function(*inputs)

    def __del__(self) -> None:
        self.recorder.released.append(self.size)


def halve(x: Tensor) -> Tensor:
    return x / 2


def negate(x: Tensor) -> Tensor:
    return -x


def test_the_second_call_captures_and_later_ones_replay():
    recorder = Recorder()
    calls = GraphCache(recorder)
    for i in range(4):
        assert torch.equal(calls(halve, torch.full((3,), 2.0 * i)), torch.full((3,), float(i)))
    assert recorder.warmed == [3] * WARM_UP
    assert recorder.captured == [3]
    assert recorder.replayed == [3, 3, 3]


def test_shapes_and_types_of_all_inputs_tell_graphs_apart():
    recorder = Recorder()
    calls = GraphCache(recorder)
    inputs = [
        (torch.ones(2, 1), torch.ones(3)),
        (torch.ones(2, 1), torch.ones(4)),
        (torch.ones(2, 1).double(), torch.ones(3)),
    ]
    for pair in inputs:
        calls(torch.add, *pair)
    assert recorder.captured == []
    for pair in inputs:
        calls(torch.add, *pair)
    assert len(recorder.captured) == 3


def test_functions_tell_graphs_apart():
    calls = GraphCache(Recorder())
    for _ in range(3):
        assert calls(halve, torch.ones(1)) == 0.5
        assert calls(negate, torch.ones(1)) == -1


def test_shapes_without_a_graph_are_forgotten_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LIMIT", 2)
    recorder = Recorder()
    calls = GraphCache(recorder)
    for size in (1, 1, 2, 1, 3, 1, 2, 1):
        calls(halve, torch.ones(size))
    assert recorder.captured == [1]
    assert recorder.released == []


def test_graphs_are_forgotten_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LIMIT", 2)
    recorder = Recorder()
    calls = GraphCache(recorder)
    for size in (1, 1, 2, 2, 1, 3):
        calls(halve, torch.ones(size))
    assert sorted(recorder.released) == [1, 2]
    for size in (3, 1, 1):
        calls(halve, torch.ones(size))
    assert recorder.captured == [1, 2, 3, 1]


def test_clear_releases_all():
    recorder = Recorder()
    calls = GraphCache(recorder)
    calls(halve, torch.ones(1))
    assert not calls.clear()
    for size in (1, 1, 2, 2):
        calls(halve, torch.ones(size))
    assert calls.clear()
    assert sorted(recorder.released) == [1, 2]
    calls(halve, torch.ones(1))
    assert recorder.captured == [1, 2]


def test_large_inputs_are_not_captured(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LARGEST", 10)
    recorder = Recorder()
    calls = GraphCache(recorder)
    for size in (10, 10, 11, 11):
        assert torch.equal(calls(halve, torch.ones(size)), torch.full((size,), 0.5))
    assert recorder.captured == [10]


class Refusing(Recorder):
    """Can't capture inputs of 3 numbers."""

    def __call__(self, function: Function, *inputs: Tensor) -> "Replay":
        replay = super().__call__(function, *inputs)
        if len(inputs[0]) == 3:
            raise CaptureError("operation not permitted when stream is capturing")
        return replay


def test_what_cannot_be_captured_is_called():
    recorder = Refusing()
    calls = GraphCache(recorder)
    calls(halve, torch.ones(3))
    with pytest.warns(RuntimeWarning, match=r"^Engine: inputs of \[3\] go on .* not permitted"):
        assert torch.equal(calls(halve, torch.ones(3)), torch.full((3,), 0.5))
    for size in (3, 3, 2, 2, 2):
        assert torch.equal(calls(halve, torch.ones(size)), torch.full((size,), 0.5))
    assert recorder.captured == [3, 2]
    assert recorder.replayed == [2, 2]
