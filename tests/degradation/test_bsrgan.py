import torch

from dasr_fast.degradation.bsrgan import Downsampling, MixedNoise
from dasr_fast.degradation.camera import Camera
from dasr_fast.degradation.part import Draws, Parameters

CPU = torch.device("cpu")


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
