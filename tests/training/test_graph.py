"""Replaying a step, with a stand-in for CUDA graphs."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor

from dasr_fast.training.graph import WARM_UP, Function, Repeated, Replay


def test_called_a_few_times_then_captured_once():
    calls, captured = [], []

    def function(x: Tensor) -> dict[str, Tensor]:
        calls.append(x.item())
        return {"twice": 2 * x}

    def capture(function: Function, inputs: tuple[Tensor, ...]) -> Replay:
        captured.append(inputs[0].item())
        return lambda x: {"twice": x + x}

    repeated = Repeated(function, capture)
    results = [repeated(torch.tensor(float(i)))["twice"].item() for i in range(WARM_UP + 3)]
    assert results == [2.0 * i for i in range(WARM_UP + 3)]
    assert calls == list(range(WARM_UP))
    assert captured == [WARM_UP]


def test_what_cannot_be_captured_is_called(caplog: pytest.LogCaptureFixture):
    def refuse(*_: Any) -> Replay:
        raise RuntimeError("operation not permitted when stream is capturing")

    repeated = Repeated(lambda x: {"same": x}, refuse)
    with caplog.at_level(logging.WARNING):
        assert [repeated(torch.tensor(i))["same"].item() for i in range(WARM_UP + 3)] == list(range(WARM_UP + 3))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not permitted" in caplog.text
