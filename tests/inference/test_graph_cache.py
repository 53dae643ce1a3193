import pytest
import torch
from stand_in_captures import StandIn
from torch import Tensor

from dasr_fast.inference import graph_cache
from dasr_fast.inference.graph_cache import WARM_UP, GraphCache


def halve(x: Tensor) -> Tensor:
    return x / 2


@pytest.fixture
def recorder() -> StandIn:
    """It can't capture inputs of 13 numbers."""
    return StandIn(lambda x: x.numel() == 13)


@pytest.fixture
def calls(recorder: StandIn) -> GraphCache:
    return GraphCache(recorder)


def call(calls: GraphCache, *sizes: int) -> None:
    for size in sizes:
        assert torch.equal(calls(halve, torch.ones(size)), torch.full((size,), 0.5))


def test_the_second_call_captures_and_later_ones_replay(calls: GraphCache, recorder: StandIn):
    for i in range(4):
        assert torch.equal(calls(halve, torch.full((3,), 2.0 * i)), torch.full((3,), float(i)))
    assert (recorder.warmed, recorder.captured, recorder.replayed) == ([3] * WARM_UP, [3], [3, 3, 3])


def test_functions_and_shapes_and_types_of_all_inputs_tell_graphs_apart(calls: GraphCache, recorder: StandIn):
    ones = torch.ones(2, 1)
    inputs = [(ones, torch.ones(3)), (ones, torch.ones(4)), (ones.double(), torch.ones(3))]
    for captured in (0, 3):
        for pair in inputs:
            calls(torch.add, *pair)
        assert len(recorder.captured) == captured
    for _ in range(3):
        assert (calls(halve, torch.ones(1)), calls(torch.neg, torch.ones(1))) == (0.5, -1)


def test_shapes_without_a_graph_go_alone(calls: GraphCache, recorder: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LIMIT", 2)
    call(calls, 1, 1, 2, 1, 3, 1, 2, 1)
    assert (recorder.captured, recorder.released) == ([1], [])


def test_graphs_are_forgotten_together(calls: GraphCache, recorder: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LIMIT", 2)
    call(calls, 1, 1, 2, 2, 1, 3)
    assert sorted(recorder.released) == [1, 2]
    call(calls, 3, 1, 1)
    assert recorder.captured == [1, 2, 3, 1]


def test_clear_releases_all(calls: GraphCache, recorder: StandIn):
    call(calls, 1)
    assert not calls.clear()
    call(calls, 1, 1, 2, 2)
    assert calls.clear()
    assert sorted(recorder.released) == [1, 2]
    call(calls, 1)
    assert recorder.captured == [1, 2]


def test_large_inputs_are_not_captured(calls: GraphCache, recorder: StandIn, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(graph_cache, "LARGEST", 10)
    call(calls, 10, 10, 11, 11)
    assert recorder.captured == [10]


def test_what_cannot_be_captured_is_called(calls: GraphCache, recorder: StandIn):
    call(calls, 13)
    with pytest.warns(RuntimeWarning, match=r"^Engine: inputs of \[13\] go on .* not permitted"):
        call(calls, 13)
    call(calls, 13, 13, 2, 2, 2)
    assert (recorder.captured, recorder.replayed) == ([13, 2], [2, 2])
