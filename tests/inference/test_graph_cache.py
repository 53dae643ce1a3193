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
    """Makes replays that call the function; notes the sizes of what was captured, replayed and let go.

    It can't capture inputs of 13 numbers.
    """

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
        if len(inputs[0]) == 13:
            raise CaptureError("operation not permitted when stream is capturing")
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


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def calls(recorder: Recorder) -> GraphCache:
    return GraphCache(recorder)


def call(calls: GraphCache, *sizes: int) -> None:
    for size in sizes:
        assert torch.equal(calls(halve, torch.ones(size)), torch.full((size,), 0.5))


def test_the_second_call_captures_and_later_ones_replay(calls: GraphCache, recorder: Recorder):
    for i in range(4):
        assert torch.equal(calls(halve, torch.full((3,), 2.0 * i)), torch.full((3,), float(i)))
    assert (recorder.warmed, recorder.captured, recorder.replayed) == ([3] * WARM_UP, [3], [3, 3, 3])


def test_functions_and_shapes_and_types_of_all_inputs_tell_graphs_apart(calls: GraphCache, recorder: Recorder):
    ones = torch.ones(2, 1)
    inputs = [(ones, torch.ones(3)), (ones, torch.ones(4)), (ones.double(), torch.ones(3))]
    for captured in (0, 3):
        for pair in inputs:
            calls(torch.add, *pair)
        assert len(recorder.captured) == captured
    for _ in range(3):
        assert calls(halve, torch.ones(1)) == 0.5
        assert calls(torch.neg, torch.ones(1)) == -1


def test_shapes_without_a_graph_are_forgotten_alone(
    calls: GraphCache, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(graph_cache, "LIMIT", 2)
    call(calls, 1, 1, 2, 1, 3, 1, 2, 1)
    assert (recorder.captured, recorder.released) == ([1], [])


def test_graphs_are_forgotten_together(calls: GraphCache, recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LIMIT", 2)
    call(calls, 1, 1, 2, 2, 1, 3)
    assert sorted(recorder.released) == [1, 2]
    call(calls, 3, 1, 1)
    assert recorder.captured == [1, 2, 3, 1]


def test_clear_releases_all(calls: GraphCache, recorder: Recorder):
    call(calls, 1)
    assert not calls.clear()
    call(calls, 1, 1, 2, 2)
    assert calls.clear()
    assert sorted(recorder.released) == [1, 2]
    call(calls, 1)
    assert recorder.captured == [1, 2]


def test_large_inputs_are_not_captured(calls: GraphCache, recorder: Recorder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LARGEST", 10)
    call(calls, 10, 10, 11, 11)
    assert recorder.captured == [10]


def test_what_cannot_be_captured_is_called(calls: GraphCache, recorder: Recorder):
    call(calls, 13)
    with pytest.warns(RuntimeWarning, match=r"^Engine: inputs of \[13\] go on .* not permitted"):
        call(calls, 13)
    call(calls, 13, 13, 2, 2, 2)
    assert (recorder.captured, recorder.replayed) == ([13, 2], [2, 2])
