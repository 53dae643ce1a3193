"""Replaying a step, with a stand-in for CUDA graphs."""

import logging

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CaptureError
from dasr_fast.training.graph import WARM_UP, Function, Losses, Repeated


class Recorder:
    """Makes replays that do the same as the function in another way."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.warmed: list[float] = []
        self.captured: list[float] = []
        self.failure = failure

    def run(self, function: Function, *inputs: Tensor) -> Losses:
        self.warmed.append(inputs[0].item())
        return function(*inputs)

    def __call__(self, function: Function, *inputs: Tensor) -> Function:
        self.captured.append(inputs[0].item())
        if self.failure is not None:
            raise self.failure
        return lambda x: {"twice": x + x}


def test_called_a_few_times_then_captured_once():
    calls, capture = [], Recorder()

    def function(x: Tensor) -> Losses:
        calls.append(x.item())
        return {"twice": 2 * x}

    repeated = Repeated(function, capture)
    results = [repeated(torch.tensor(float(i)))["twice"].item() for i in range(WARM_UP + 3)]
    assert results == [2.0 * i for i in range(WARM_UP + 3)]
    assert calls == capture.warmed == list(range(WARM_UP))
    assert capture.captured == [WARM_UP]


def test_what_cannot_be_captured_is_called(caplog: pytest.LogCaptureFixture):
    capture = Recorder(CaptureError("operation not permitted when stream is capturing"))
    repeated = Repeated(lambda x: {"same": x}, capture)
    with caplog.at_level(logging.WARNING):
        assert [repeated(torch.tensor(i))["same"].item() for i in range(WARM_UP + 3)] == list(range(WARM_UP + 3))
    assert capture.captured == [WARM_UP]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not permitted" in caplog.text
