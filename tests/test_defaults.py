"""PyTorch's default type and device are those of new weights; they change nothing else."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from dasr_fast import nn
from dasr_fast.degradation import Degradation, gaussian_kernel
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR, save_weights
from dasr_fast.models.mean_shift import DIV2K_MEAN, MeanShift


def degraded() -> tuple[Tensor, Tensor]:
    hr = (255 * torch.rand(2, 3, 32, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float32)).round()
    return Degradation(size=7, noise=10.0)(hr, generator=torch.Generator().manual_seed(1))


def test_degradation(other_default: torch.dtype):
    expected = *degraded(), gaussian_kernel(9, 1.2, 0.8, 0.3)
    torch.set_default_dtype(other_default)
    for result, target in zip((*degraded(), gaussian_kernel(9, 1.2, 0.8, 0.3)), expected, strict=True):
        assert result.dtype == torch.float32
        assert torch.equal(result, target)


def test_weights_and_engine(other_default: torch.dtype, tmp_path: Path):
    path = tmp_path / "small.safetensors"
    save_weights(BlindSR(2, channels=16, groups=1, blocks=1), path)
    lr = 255 * torch.rand(1, 3, 20, 18)
    model = BlindSR.from_pretrained(path)
    with torch.no_grad():
        expected = model(lr), Engine(model, "fp32")(lr)
        torch.set_default_dtype(other_default)
        model = BlindSR.from_pretrained(path)
        results = model(lr), Engine(model, "fp32")(lr)
    for result, target in zip(results, expected, strict=True):
        assert result.dtype == torch.float32
        assert torch.equal(result, target)


def test_mean_colour(other_default: torch.dtype):
    torch.set_default_dtype(other_default)
    shift = MeanShift(-1)
    assert torch.equal(shift.weight[..., 0, 0].float(), torch.eye(3, dtype=torch.float32))
    expected = -255 * torch.tensor(DIV2K_MEAN, dtype=torch.float64)
    torch.testing.assert_close(shift.bias.double(), expected.to(other_default).double(), rtol=1e-6, atol=0)


def test_layers_and_models_on_meta():
    with torch.device("meta"):
        group = nn.DAGroup(16, 8, blocks=1)
        assert group(torch.zeros(1, 16, 5, 6), torch.zeros(1, 8)).shape == (1, 16, 5, 6)
    model = BlindSR(2, channels=16, groups=1, blocks=1).eval().to("meta")
    assert model(torch.zeros(1, 3, 50, 60, device="meta")).shape == (1, 3, 100, 120)
    with pytest.raises(ValueError, match="model is on the device meta"):
        Engine(model)


def test_weights_are_loaded_into_a_model_that_was_not_initialized():
    model = BlindSR(2, channels=16, groups=1, blocks=1).eval()
    with torch.device("meta"):
        other = BlindSR(2, channels=16, groups=1, blocks=1).eval()
    other.to_empty(device="cpu").load_state_dict(model.state_dict())
    lr = 255 * torch.rand(1, 3, 20, 18)
    assert torch.equal(other(lr), model(lr))
