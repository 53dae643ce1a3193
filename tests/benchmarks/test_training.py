"""Steps are measured with networks as `dasr-fast train` has them."""

from typing import Any

import pytest
import torch
from torch import nn

from benchmarks import training
from benchmarks.acceptance import soak
from benchmarks.work import Settings
from dasr_fast.training import networks


class Told(nn.Module):
    """Remembers what it was told to become."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []

    def to(self, *places: Any, **formats: Any) -> "Told":
        self.told += [*places, *formats.values()]
        return self


@pytest.mark.parametrize(("device", "formats"), [("cpu", []), ("cuda", [torch.channels_last])])
def test_networks_are_channels_last_on_a_gpu(device: str, formats: list[torch.memory_format]):
    network = Told()
    assert networks.placed(network, torch.device(device)) is network
    assert network.told == [torch.device(device), *formats]


def test_measured_steps_place_networks_as_the_trainer_does(monkeypatch: pytest.MonkeyPatch):
    placed: list[torch.device] = []

    def spy(network: nn.Module, device: torch.device) -> nn.Module:
        placed.append(device)
        return networks.placed(network, device)

    monkeypatch.setattr(training, "placed", spy)
    monkeypatch.setattr(soak, "placed", spy)
    training.our_step("everything", Settings(quick=True))
    soak.training("cpu", captured=False)
    assert placed == 2 * [torch.device("cpu")]
