import copy
import pickle

import pytest
import torch
from acceleration.models_degradation import Blur, Cubic, Degrade, Kernels
from torch import Tensor, nn

import dasr_fast
from dasr_fast.acceleration.accelerate import report

SETTINGS = (
    {"scale": 4, "blur_type": "aniso_gaussian", "noise": 25.0},
    {"scale": 3, "blur_type": "aniso_gaussian", "noise": 5.0, "lambda_1": 4, "lambda_2": 1.5, "theta": 30},
    {"scale": 2, "noise": 10.0},
    {"scale": 2, "sig": 0, "noise": 10.0},
    {"scale": 4, "mode": "s-fold", "noise": 10.0},
    {"scale": 1, "kernel_size": 20},
)


def on_cpu(pipeline: object, *arguments: object, **keywords: object) -> object:
    """A call of code that wants a GPU, on the CPU."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "cuda", lambda self: self)
        return pipeline(*arguments, **keywords)


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("random", [True, False])
def test_a_pipeline_agrees_with_equal_random_numbers(settings: dict, random: bool):
    pipeline = Degrade(**settings)
    state = torch.get_rng_state()
    dasr_fast.accelerate(pipeline)
    assert torch.equal(state, torch.get_rng_state())
    assert report(pipeline).replaced == {
        "kernels": "Gaussin_Kernel",
        "blur": "BatchBlur",
        "resize": "bicubic",
        "": "SRMDPreprocessing",
    }
    hr = (torch.rand(3 if random else 1, 2, 3, 48, 36) * 255).round()
    state = torch.get_rng_state()
    expected, kernels = on_cpu(Degrade(**settings), hr, random)
    drawn = torch.get_rng_state()
    torch.set_rng_state(state)
    lr, own_kernels = pipeline(hr, random)
    assert torch.equal(drawn, torch.get_rng_state())
    assert lr.shape == expected.shape
    difference = (lr - expected).abs()
    assert difference.max() <= 1
    assert difference.mean() < 1e-3
    assert (kernels is None) == (own_kernels is None)
    if kernels is not None:
        torch.testing.assert_close(own_kernels, kernels, rtol=1e-4, atol=1e-6)


def test_revert_and_copies():
    pipeline = dasr_fast.accelerate(Degrade(4, noise=5.0))
    hr = torch.rand(2, 1, 3, 32, 32) * 255
    torch.manual_seed(1)
    expected = pipeline(hr)[0]
    for twin in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        torch.manual_seed(1)
        assert torch.equal(twin(hr)[0], expected)
    dasr_fast.revert(pipeline)
    assert [type(part) for part in (pipeline, *vars(pipeline).values())][-3:] == [Kernels, Blur, Cubic]
    assert type(pipeline) is Degrade


def test_a_pipeline_in_a_trainer():
    class Trainer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.degrade = Degrade(4)

    trainer = dasr_fast.accelerate(Trainer())
    assert report(trainer).replaced["degrade"] == "SRMDPreprocessing"


@pytest.mark.parametrize("factor", [1, 1 / 2, 1 / 3, 1 / 4, 2, 3, 4, 0.4])
def test_bicubic_resizing(factor: float):
    resize = dasr_fast.accelerate(Cubic())
    assert report(resize).replaced == {"": "bicubic"}
    images = (torch.rand(2, 3, 26, 17) * 255).requires_grad_()
    expected, result = on_cpu(Cubic(), images, scale=factor), on_cpu(resize, images, factor)
    torch.testing.assert_close(result, expected, rtol=0, atol=1e-3)
    assert result.stride() == expected.stride()
    grads = [torch.autograd.grad(y.square().sum(), images)[0] for y in (result, expected)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-2)


def test_another_kind_of_resizing_is_left_alone():
    class Linear(Cubic):
        def forward(self, images, scale=1 / 4):
            return nn.functional.interpolate(images, scale_factor=scale, mode="bilinear")

    resize = dasr_fast.accelerate(Linear())
    assert type(resize) is Linear
    assert report(resize).left == {"": "Linear looks like the released bicubic, but computes something else"}


@pytest.mark.parametrize("size", [5, 20, 21])
def test_blurring(size: int):
    blur = dasr_fast.accelerate(Blur(size))
    images, kernel = (torch.rand(2, 6, 24, 25) * 255).requires_grad_(), torch.rand(2, size, size).requires_grad_()
    expected, result = Blur(size)(images, kernel), blur(images, kernel)
    torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-2)
    for grads in zip(
        *(torch.autograd.grad(y.square().mean(), [images, kernel]) for y in (result, expected)), strict=True
    ):
        torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-2)
