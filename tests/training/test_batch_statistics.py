"""Statistics of several processes, whose exchange is played here, against batch normalisation of the joint batch."""

import pytest
import torch
from torch import nn

from dasr_fast.training.representation import batch_statistics
from dasr_fast.training.representation.batch_statistics import SynchronizedBatchNorm

WORLD = 3


@pytest.mark.parametrize("mean", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
def test_flat_and_distant_channels(monkeypatch: pytest.MonkeyPatch, mean: float, spread: float):
    joint = mean + spread * torch.randn(WORLD, 2, 4, 7, 5)
    moments = torch.stack([torch.stack(torch.var_mean(x, (0, 2, 3), correction=0)) for x in joint])
    monkeypatch.setattr(batch_statistics, "rank_and_world", lambda: (0, WORLD))
    monkeypatch.setattr(batch_statistics, "gather", lambda own: torch.cat((own, moments[1:])))
    norm, expected = SynchronizedBatchNorm(4), nn.BatchNorm2d(4).double()
    y, target = norm(joint[0]), expected(joint.flatten(0, 1).double())[:2]
    limit = 1e-5 + 1e-6 * mean / (spread**2 + norm.eps) ** 0.5  # Subtraction of the mean, in float32.
    torch.testing.assert_close(y.double(), target, rtol=0, atol=limit)
    rounding = (1e-6 * mean) ** 2 + 1e-6 * spread**2 + 1e-6 * mean * spread
    torch.testing.assert_close(norm.running_var.double(), expected.running_var, rtol=1e-6, atol=rounding)
