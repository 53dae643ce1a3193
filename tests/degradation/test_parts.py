"""The parts of degradations, each by itself."""

import math
from io import BytesIO

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
import torch.nn.functional as F
from PIL import Image

from dasr_fast import reference
from dasr_fast.degradation.blur import FORMS, Blur, blur_kernel, blurred, sinc_kernel
from dasr_fast.degradation.bsrgan import Downsampling, MixedNoise
from dasr_fast.degradation.camera import Camera
from dasr_fast.degradation.compression import Jpeg, compressed
from dasr_fast.degradation.noise import Noise
from dasr_fast.degradation.part import Draws, Parameters
from dasr_fast.degradation.resizing import Resize
from dasr_fast.ops.resize import MODES
from dasr_fast.reference.add_noise import poisson_quantile


@pytest.mark.parametrize("form", range(3))
@pytest.mark.parametrize(("size", "sigma_x", "sigma_y", "theta", "beta"), [(21, 2.5, 0.6, 0.7, 0.5), (7, 3, 3, 0, 1.7)])
def test_kernels_are_their_formulas(form: int, size: int, sigma_x: float, sigma_y: float, theta: float, beta: float):
    settings = [torch.tensor([x]) for x in (size, sigma_x, sigma_y, theta, form, beta)]
    found = blur_kernel(*settings, grid=25)[0]
    turn = np.array([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    inverse = np.linalg.inv(turn @ np.diag([sigma_x**2, sigma_y**2]) @ turn.T)
    expected = np.zeros((25, 25))
    for y in range(-(size // 2), size // 2 + 1):
        for x in range(-(size // 2), size // 2 + 1):
            d = np.array([x, y]) @ inverse @ np.array([x, y])
            expected[y + 12, x + 12] = {
                "gaussian": math.exp(-0.5 * d),
                "generalized": math.exp(-0.5 * d**beta),
                "plateau": 1 / (1 + d**beta),
            }[FORMS[form]]
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5, atol=1e-9)


def test_kernels_of_no_width_do_nothing():
    zero, one = torch.zeros(1), torch.ones(1)
    kernel = blur_kernel(torch.tensor([7]), zero, zero, zero, torch.tensor([0]), one, 21)[0]
    assert (kernel[10, 10], kernel.sum()) == (1, 1)


def test_sinc_is_its_formula():
    size, cutoff = torch.tensor([7, 21]), torch.tensor([2.5, 0.8])
    found = sinc_kernel(size, cutoff, 21)
    y, x = np.mgrid[-10:11, -10:11]
    radius = np.hypot(x, y)
    for kernel, n, c in zip(found, (7, 21), (2.5, 0.8), strict=True):
        radius[10, 10] = 1e-9
        expected = c * scipy.special.j1(c * radius) / (2 * np.pi * radius)
        expected *= np.maximum(abs(x), abs(y)) <= n // 2
        np.testing.assert_allclose(kernel, expected / expected.sum(), rtol=1e-4, atol=1e-7)


def test_every_sample_is_correlated_with_its_kernel():
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 3, 30 + i % 2, 40, generator=generator) * 255 for i in range(8)]
    sigma = torch.linspace(0.3, 3, 8)
    kind = torch.arange(8) % 3
    kernel = blur_kernel(torch.full((8,), 21), sigma, sigma, torch.zeros(8), kind, torch.full((8,), 1.5), 21)
    where = torch.arange(8) != 5
    found = blurred(images, kernel, where, kind == 0)
    for i, (image, result) in enumerate(zip(images, found, strict=True)):
        padded = F.pad(image.double(), (10, 10, 10, 10), mode="reflect").flatten(0, 1)[:, None]
        expected = F.conv2d(padded, kernel[i].double()[None, None]).view_as(image)
        if i == 5:
            assert torch.equal(result, image)
        else:
            assert (result - expected).abs().max() < 0.01


def test_kernels_larger_than_the_image_are_cut():
    image = torch.full((1, 3, 5, 8), 77.0)
    kernel = torch.full((1, 21, 21), 1 / 441)
    result = blurred([image], kernel)[0]
    torch.testing.assert_close(result, image)


def test_probability_of_blur():
    image = torch.rand(1, 3, 24, 24) * 255
    part = Blur((2.0, 2.0), probability=0.0)
    drawn = part.draw(Draws(1, (24, 24), 1, None, torch.device("cpu")))
    assert torch.equal(part.degrade([image], drawn)[0], image)
    assert part.describe(drawn).abs().max() == 0


CPU = torch.device("cpu")


@pytest.mark.parametrize("mean", [1.0, 2.0, 5.0, 30.0, 256.0])
def test_counts_are_those_of_the_distribution(mean: float):
    normal = torch.linspace(-4, 4, 4001)
    found = poisson_quantile(torch.full_like(normal, mean), normal).numpy()
    exact = scipy.stats.poisson.ppf(scipy.stats.norm.cdf(normal.numpy().astype(np.float64)), mean)
    assert abs(found - exact).max() <= 1
    weight = scipy.stats.norm.pdf(normal.numpy())
    assert np.average(found != exact, weights=weight) < (0.03 if mean < 5 else 0.01)
    drawn = poisson_quantile(torch.full((10**6,), mean), torch.randn(10**6, generator=torch.Generator().manual_seed(0)))
    assert drawn.mean().item() == pytest.approx(mean, rel=0.012 if mean < 5 else 0.003)
    assert drawn.var().item() == pytest.approx(mean, rel=0.04 if mean < 5 else 0.008)


def test_black_has_no_counts():
    assert poisson_quantile(torch.zeros(1000), torch.randn(1000)).abs().max() == 0


def drawn(**numbers: float) -> Parameters:
    given = {"noisy": True, "poisson": False, "level": 10.0, "grey": False, "seed": 3} | numbers
    return Parameters({name: torch.tensor([x]) for name, x in given.items()}, CPU)


PART = Noise((0.0, 1.0), (0.0, 1.0))


def test_gaussian():
    image = torch.full((2, 3, 200, 200), 128.0)
    noise = PART.degrade([image], drawn())[0] - 128
    assert noise.std().item() == pytest.approx(10, rel=0.01)
    channels = noise.transpose(0, 1).flatten(1)
    assert (torch.corrcoef(channels) - torch.eye(3)).abs().max() < 0.02
    assert (noise[0] * noise[1]).mean().abs() < 1  # Patches have noise of their own.
    grey = PART.degrade([image], drawn(grey=True))[0] - 128
    assert torch.equal(grey[:, :1].expand_as(grey), grey)
    assert grey.std().item() == pytest.approx(10, rel=0.02)
    torch.testing.assert_close(PART.describe(drawn()), torch.tensor([[1.6, 0.0]]))
    torch.testing.assert_close(PART.describe(drawn(grey=True)), torch.tensor([[0.0, 1.6]]))


def test_poisson():
    colours = torch.tensor([40.0, 100.0, 200.0])
    image = colours.view(1, 3, 1, 1).expand(1, 3, 300, 300).contiguous()
    noise = PART.degrade([image], drawn(poisson=True, level=0.5))[0] - image
    expected = 0.5 * 255 / 256 * (colours * 256 / 255).round().sqrt()
    torch.testing.assert_close(noise.std((0, 2, 3)), expected, rtol=0.02, atol=0)
    assert noise.mean((0, 2, 3)).abs().max() < 0.1
    grey = PART.degrade([image], drawn(poisson=True, level=0.5, grey=True))[0] - image
    luma = 0.299 * 40 + 0.587 * 100 + 0.114 * 200
    torch.testing.assert_close(grey[:, :1].expand_as(grey), grey, rtol=0, atol=1e-4)
    assert grey.std().item() == pytest.approx(0.5 * luma**0.5, rel=0.02)
    found = PART.describe(drawn(poisson=True, level=0.5))
    assert found[0, 0].item() * 6.25 == pytest.approx(0.5 * 255 / 256 * (256 / 2) ** 0.5, rel=0.01)


def test_noise_is_clamped_and_the_seeds():
    bright = PART.degrade([torch.full((1, 3, 50, 50), 254.0)], drawn())[0]
    assert bright.max() == 255
    image = torch.full((1, 3, 8, 8), 99.0)
    one, same, other = (PART.degrade([image], drawn(seed=seed))[0] for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert torch.equal(PART.degrade([image], drawn(noisy=False))[0], image)
    seeds = PART.draw(Draws(1000, (8, 8), 1, torch.Generator().manual_seed(0), CPU)).numbers["seed"]
    assert len(seeds.unique()) == 1000


def test_every_sample_gets_its_size():
    part = Resize(((0.5, (0.2, 1.0)), (0.5, (1.0, 2.0))))
    draws = Draws(20, (30, 40), 2, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = part.draw(draws)
    images = [torch.rand(1, 3, 30, 40) for _ in range(20)]
    numbers = drawn.numbers
    for image, result, factor, mode in zip(
        images, part.degrade(images, drawn), numbers["factor"].double(), numbers["mode"].tolist(), strict=True
    ):
        size = int(30 * factor), int(40 * factor)
        assert tuple(result.shape[-2:]) == size
        torch.testing.assert_close(result, reference.resize(image, *size, MODES[mode], False))
    assert draws.sizes.tolist() == numbers["size"].tolist()
    torch.testing.assert_close(part.describe(drawn)[:, 0], numbers["factor"].log2())


def test_a_factor_of_the_lr_size():
    part = Resize(((1.0, (0.5, 0.5)),), of_lr=True)
    drawn = part.draw(Draws(2, (82, 40), 4, None, torch.device("cpu")))
    assert drawn.numbers["size"].tolist() == [[10, 5]] * 2  # 82 / 4 / 2 rows
    assert part.describe(drawn).shape == (2, 0)


def test_every_sample_has_its_quality_and_place():
    images = [torch.rand(2, 3, 20, 30 + i % 2) * 255 for i in range(6)]
    numbers = {
        "compresses": torch.arange(6) != 4,
        "quality": torch.tensor([30, 45, 60, 75, 90, 95]),
        "subsampling": torch.tensor([0, 1, 2, 0, 1, 2]),
        "above": torch.tensor([0, 5, 15, 7, 0, 1]),
        "left": torch.tensor([0, 9, 2, 0, 0, 15]),
    }
    part, drawn = Jpeg(), Parameters(numbers, torch.device("cpu"))
    for i, (image, result) in enumerate(zip(images, part.degrade(images, drawn), strict=True)):
        if i == 4:
            assert torch.equal(result, image)
            continue
        above, left, *how = (int(numbers[name][i]) for name in ("above", "left", "quality", "subsampling"))
        larger = F.pad(image.round(), (left, 16 - left, above, 16 - above), mode="replicate")
        expected = reference.jpeg(larger, *(torch.tensor([number] * 2) for number in how))
        assert torch.equal(result, expected[..., above : above + 20, left : left + image.shape[-1]])
    strengths = [70 / 15, 55 / 15, 40 / 15, 25 / 15, 0, 5 / 15]
    torch.testing.assert_close(part.describe(drawn), torch.tensor(strengths)[:, None])


def test_grey_is_compressed_as_grey():
    image = torch.rand(1, 1, 24, 24) * 255
    file = BytesIO()
    Image.fromarray(image[0, 0].round().byte().numpy()).save(file, "JPEG", quality=40)
    expected = torch.from_numpy(np.array(Image.open(file)).astype(np.float32))
    assert torch.equal(compressed(image, torch.tensor([40]))[0, 0], expected)


def gradient(height: int, width: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return (2 * x + y).expand(1, 3, -1, -1).contiguous()


def test_downsampling_keeps_every_pixel_in_place():
    image = gradient(64, 48)
    for resizes in (True, False):
        numbers = {"resizes": resizes, "left": 4, "sigma": 1.3, "mode": 0, "size": [16, 12], "factor": 4.0}
        drawn = Parameters({name: torch.tensor([x]) for name, x in numbers.items()}, CPU)
        result = Downsampling().degrade([image], drawn)[0]
        expected = image.unfold(2, 4, 4).unfold(3, 4, 4).mean((-2, -1))
        inside = (..., slice(3, -3), slice(3, -3))
        torch.testing.assert_close(result[inside], expected[inside], rtol=0, atol=1e-3)


def test_mixed_noise_has_the_covariance():
    mix = torch.tensor([[[3.0, 0, 0], [1, 2, 0], [0, 1, 4]]])
    drawn = Parameters({"mix": mix, "seed": torch.tensor([1])}, CPU)
    noise = MixedNoise().degrade([torch.full((2, 3, 200, 200), 100.0)], drawn)[0] - 100
    torch.testing.assert_close(torch.cov(noise.transpose(0, 1).flatten(1)), mix[0] @ mix[0].T, rtol=0.05, atol=0.1)


def test_a_camera_without_noise_changes_little():
    image = gradient(48, 48) + 40
    part = Camera(1.0, shot=(1e-12, 1e-12))
    drawn = part.draw(Draws(1, (48, 48), 1, torch.Generator().manual_seed(0), CPU))
    result = part.degrade([image], drawn)[0]
    assert (result - image)[..., 2:-2, 2:-2].abs().max() < 2
    noisy = Camera(1.0, shot=(0.01, 0.01))
    drawn = noisy.draw(Draws(1, (48, 48), 1, torch.Generator().manual_seed(0), CPU))
    difference = noisy.degrade([image], drawn)[0] - image
    assert difference.std() > 5
    assert difference.mean().abs() < 5
    assert torch.equal(Camera(0.0).degrade([image], Camera(0.0).draw(Draws(1, (48, 48), 1, None, CPU)))[0], image)
