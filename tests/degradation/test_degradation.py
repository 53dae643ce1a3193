import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from golden import arrays

from dasr_fast import reference
from dasr_fast.degradation import Degradation, bicubic_downsample, bicubic_upsample, image_generator
from dasr_fast.ops import blur_downsample

KINDS: dict[str, dict[str, Any]] = {
    "iso1.2": {"kernel": "isotropic", "sigma": 1.2},
    "iso3.6": {"kernel": "isotropic", "sigma": 3.6},
    "iso0": {"kernel": "isotropic", "sigma": 0.0},
    "aniso": {"kernel": "anisotropic", "sigma": 0.5, "sigma_y": 3.7, "theta": math.radians(35)},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["bicubic", "s-fold"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_golden(scale: int, mode: str, kind: str):
    golden = arrays("degradation")
    hr = golden[f"x{scale}/hr"].permute(2, 0, 1)[None]
    degradation = Degradation(scale, noise=0.0, mode=mode, **KINDS[kind])
    lr, kernels = degradation(hr)
    different = (lr[0] - golden[f"x{scale}/{mode}/{kind}/lr"].float()).abs()
    assert different.max() <= 1
    exact = blur_downsample(hr.double(), kernels.double(), scale, mode=mode, backend="reference")[0]
    halfway = (exact - exact.floor() - 0.5).abs() < 2.55e-3  # As `unrounded` below: rounding errors decide.
    assert halfway.float().mean() < 0.02
    assert not different[~halfway].any()
    unrounded = golden.get(f"x{scale}/{mode}/{kind}/lr_unrounded")
    if unrounded is not None:
        y = blur_downsample(hr, kernels, scale, mode=mode)[0]
        assert (y - unrounded).abs().max() <= 1e-5 * unrounded.abs().max()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_golden_bicubic(scale: int):
    golden = arrays("degradation")
    down = bicubic_downsample(golden[f"x{scale}/hr"].permute(2, 0, 1)[None].float(), scale)
    for result, name in ((down, "down"), (bicubic_upsample(down.round().clamp(0, 255), scale), "up")):
        target = golden[f"x{scale}/bicubic_{name}"]
        assert (result - target).abs().max() <= 1e-5 * target.abs().max()


def flat(batch: int, patches: int, size: int = 64) -> torch.Tensor:
    return torch.full((batch, patches, 3, size, size), 128.0)


def test_noise_level_is_the_images_and_noise_the_patches():
    lr, _ = Degradation(2, "isotropic", 25.0)(flat(64, 2), generator=torch.Generator().manual_seed(1))
    deviations = (lr - 128).std(dim=(2, 3, 4))
    assert deviations.shape == (64, 2)
    torch.testing.assert_close(deviations[:, 0], deviations[:, 1], rtol=0.15, atol=0.1)
    assert deviations.min() < 2.5
    assert 22 < deviations.max() < 26
    assert 10 < deviations.mean() < 15
    correlation = torch.corrcoef(torch.stack((lr[:, 0].flatten() - 128, lr[:, 1].flatten() - 128)))[0, 1]
    assert correlation.abs() < 0.02


def test_kernels_are_drawn_for_each_image_from_the_ranges():
    degradation = Degradation(4, "isotropic", 0.0, sigma=(0.5, 3.0), size=31)
    _, kernels = degradation(flat(256, 1, 32), generator=torch.Generator().manual_seed(0))
    axis = torch.arange(31.0) - 15
    widths = (kernels * axis[None, :, None] ** 2).sum((1, 2)).sqrt()
    assert widths.min() > 0.4
    assert widths.max() < 3.05
    assert (widths.mean().item(), len(widths.unique())) == (pytest.approx(1.75, abs=0.15), 256)
    _, anisotropic = Degradation(4, noise=0.0)(flat(8, 1, 32))
    assert not torch.allclose(anisotropic, anisotropic.transpose(1, 2), atol=1e-3)


def test_patches_share_the_kernel_and_order_is_blur_downsample_noise_round_clamp():
    hr = torch.rand(2, 3, 3, 24, 24) * 255
    lr, kernels = Degradation(3, noise=0.0)(hr)
    assert torch.equal(lr, blur_downsample(hr, kernels, 3).round().clamp(0, 255))
    bright, _ = Degradation(2, "isotropic", (20.0, 20.0))(torch.full((1, 3, 32, 32), 255.0))
    assert bright.max() == 255
    assert bright.min() < 250
    assert torch.equal(bright, bright.round())


def test_the_generator_decides():
    hr = torch.rand(2, 2, 3, 24, 24) * 255
    first, second, third = (Degradation(4)(hr, generator=torch.Generator().manual_seed(seed))[0] for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("shape", [(2, 3, 24, 20), (2, 2, 3, 24, 20), (2, 1, 1, 24, 20), (0, 2, 3, 24, 20)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_shapes_and_types(shape: tuple[int, ...], dtype: torch.dtype):
    hr = (torch.rand(shape) * 255).to(dtype)
    lr, kernels = Degradation(4)(hr)
    assert lr.shape == (*shape[:-2], 6, 5)
    assert lr.dtype == torch.float32
    assert kernels.shape == (shape[0], 21, 21)


def test_kernels_of_ones_own():
    hr = torch.rand(6, 3, 16, 16) * 255
    bank = torch.rand(2, 5, 3)
    bank /= bank.sum((1, 2), keepdim=True)
    lr, used = Degradation(2, bank[0], noise=0.0)(hr)
    assert torch.equal(used, bank[:1].expand(6, -1, -1))
    assert torch.equal(lr, blur_downsample(hr, used, 2).round().clamp(0, 255))
    _, drawn = Degradation(2, bank, noise=0.0)(hr, generator=torch.Generator().manual_seed(0))
    assert {tuple(kernel.flatten().tolist()) for kernel in drawn} == {tuple(k.flatten().tolist()) for k in bank}
    again, _ = Degradation(2, noise=0.0)(hr, kernels=used)
    assert torch.equal(again, lr)
    lr, _ = Degradation(2, noise=[0, 25], sigma=[1, 2])(hr.byte(), kernels=torch.rand(6, 5, 5).half())
    assert lr.dtype == torch.float32


@pytest.mark.parametrize("resize", [bicubic_downsample, bicubic_upsample])
def test_wrong_bicubic(resize: Any):
    with pytest.raises(ValueError, match=r"image must be \[N, C, H, W\]; got \[3, 8, 8\]"):
        resize(torch.rand(3, 8, 8), 2)
    with pytest.raises(TypeError, match="image must be float32, float16, bfloat16 or float64; got uint8"):
        resize(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 2)
    for scale in (0, 2.5, True):
        with pytest.raises(ValueError, match="scale must be a whole number"):
            resize(torch.rand(1, 3, 8, 8), scale)
    with pytest.raises(ValueError, match="at least 9 pixels"):
        bicubic_downsample(torch.rand(1, 3, 8, 8), 9)


HR = torch.full((1, 3, 24, 24), 9.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 5}, "scale must be 1, 2, 3 or 4; got 5"),
        ({"mode": "area"}, "mode must be bicubic or s-fold"),
        ({"kernel": "motion"}, "kernel must be isotropic, anisotropic or a tensor"),
        ({"kernel": torch.full((5, 5), torch.nan)}, "kernel must be finite"),
        ({"kernel": torch.rand(5)}, r"kernel must be \[kh, kw\] or \[K, kh, kw\]; got \[5\]"),
        ({"noise": -1.0}, "noise must be a number from 0 to 1e"),
        ({"noise": math.nan}, "noise must be a number from 0"),
        ({"sigma": (2.0, 1.0)}, r"sigma must be a number from 0 to 1e\+06, or a pair \(low, high\)"),
        ({"sigma": math.inf}, "sigma must be a number"),
        ({"theta": math.nan}, "theta must be a number from -1e"),
        ({"theta": (0, 1e300)}, "theta must be a number"),
        ({"noise": "25"}, "noise must be a number from 0 to 1e.06, or a pair .low, high.; got '25'"),
        ({"noise": None}, "noise must be a number from 0"),
        ({"kernel": [[1.0]]}, "kernel must be isotropic, anisotropic or a tensor"),
        ({"kernel": torch.full((3, 3), 1e300, dtype=torch.float64)}, "kernel must be finite"),
        ({"size": 0}, "size must be a whole number of at least 1; got 0"),
        ({"size": 2.5}, "size must be a whole number of at least 1; got 2.5"),
        ({"kernel": "isotropic", "sigma_y": 2.0}, "sigma_y is not for isotropic kernels; got 2.0"),
        ({"kernel": "isotropic", "theta": 0.0}, "theta is not for isotropic kernels; got 0.0"),
        ({"kernel": torch.ones(1, 1), "sigma": 2.0}, "sigma is not for kernels of one's own; got 2.0"),
        ({"kernel": torch.ones(1, 1), "size": 21}, "size is not for kernels of one's own; got 21"),
        ({"mode": np.ones(3)}, "mode must be bicubic or s-fold; got ndarray"),
        ({"scale": torch.ones(2, 3)}, "scale must be 1, 2, 3 or 4; got Tensor"),
    ],
)
def test_wrong_settings(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Degradation(**options)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: Degradation(kernel=torch.ones(1, 1).long()), TypeError, "kernel must be floating point; got int64"),
        (lambda: Degradation(2)(None), TypeError, "hr must be a tensor; got NoneType"),
        (lambda: Degradation(2)(HR, generator=3), TypeError, "generator must be a torch.Generator or None; got 3"),
        (lambda: Degradation(2)(HR, kernels=np.ones((1, 3, 3))), TypeError, "kernels must be a tensor; got ndarray"),
        (lambda: bicubic_downsample(None, 2), TypeError, "image must be a tensor; got NoneType"),
        (lambda: bicubic_upsample(np.ones((1, 1, 3, 3)), 2), TypeError, "image must be a tensor; got ndarray"),
        (lambda: bicubic_downsample(HR, np.ones((9, 9))), ValueError, "whole number of at least 1; got ndarray"),
    ],
)
def test_wrong_calls(call: Callable[[], object], kind: type[Exception], message: str):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
def test_bicubic_downsampling_is_that_of_the_reference(scale: int):
    image = torch.rand(2, 3, 31, 26)
    expected = reference.bicubic_downsample(image.double(), scale)
    torch.testing.assert_close(bicubic_downsample(image, scale).double(), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(bicubic_downsample(image.double(), scale), expected)
    if scale == 1:
        assert torch.equal(bicubic_downsample(image, scale), image)


def test_randomness_of_an_image_depends_on_its_name():
    one, same, other, seeded = (
        torch.rand(4, generator=image_generator(name, seed))
        for name, seed in (("a.png", 0), ("a.png", 0), ("b.png", 0), ("a.png", 1))
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, seeded)


@pytest.mark.parametrize("noise", [0.0, 20.0])
def test_drawing_and_degrading_apart(noise: float):
    hr = torch.randint(0, 256, (4, 2, 3, 32, 32)).byte()
    degradation = Degradation(2, noise=noise)
    lr, kernels = degradation(hr, generator=torch.Generator().manual_seed(1))
    drawn = degradation.draw(hr.shape, hr.device, torch.Generator().manual_seed(1))
    assert torch.equal(drawn.kernels, kernels)
    assert torch.equal(degradation.degrade(hr, drawn), lr)
    assert torch.equal(degradation.degrade(hr[1:3], drawn[1:3]), lr[1:3])
    some = torch.tensor([3, 0])
    assert torch.equal(degradation.degrade(hr[some], drawn[some]), lr[some])
