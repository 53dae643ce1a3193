import pytest
import torch
import torch.nn.functional as F

from dasr_fast.integrations.augment import RandomDegradation, filter2D


@pytest.mark.parametrize("shape", [(3, 5, 5), (1, 21, 21), (7, 3)])
def test_filter2D_is_a_cross_correlation_of_reflected_images(shape: tuple[int, ...]):
    torch.manual_seed(0)
    image, kernel = torch.rand(3, 2, 24, 23, requires_grad=True), torch.rand(shape)
    each = kernel.expand(3, *kernel.shape[-2:])
    rows, columns = (size // 2 for size in kernel.shape[-2:])
    padded = F.pad(image.double(), (columns, columns, rows, rows), mode="reflect")
    right = torch.stack([F.conv2d(x[:, None], k.double()[None, None])[:, 0] for x, k in zip(padded, each, strict=True)])
    result = filter2D(image, kernel)
    torch.testing.assert_close(result.double(), right, rtol=1e-5, atol=1e-4)
    result.sum().backward()
    assert image.grad is not None


def images(batch: int = 4) -> torch.Tensor:
    return torch.rand(batch, 3, 40, 48, generator=torch.Generator().manual_seed(0))


def test_images_that_belong_together_are_degraded_alike():
    def degrade() -> RandomDegradation:
        return RandomDegradation("paper", 4, generator=torch.Generator().manual_seed(1))

    first, second = degrade()(images(), images())
    assert first.shape == second.shape == (4, 3, 10, 12)
    alone = degrade()(images())
    assert isinstance(alone, torch.Tensor)
    # Noise is drawn for each image; blur and downsampling are the same.
    assert (first - second).mean((1, 2, 3)).abs().max() < 0.02
    assert first.min() >= 0
    assert first.max() <= 1


@pytest.mark.parametrize("name", ["photo", "second-order", "bsrgan"])
def test_some_samples_stay_as_they_are(name: str):
    degrade = RandomDegradation(name, p=0.5, generator=torch.Generator().manual_seed(0))
    result = degrade(images(32))
    assert result.shape == (32, 3, 40, 48)
    same = sum(torch.equal(a, b) for a, b in zip(result, images(32), strict=True))
    assert 8 <= same <= 24
    assert torch.equal(RandomDegradation(name, p=0.0)(images()), images())


@pytest.mark.parametrize(("scale", "p"), [(1, 1.5), (1, -0.1), (4, 0.5)])
def test_probabilities(scale: int, p: float):
    with pytest.raises(ValueError, match="p must be 0 to 1, and 1 unless the scale is 1"):
        RandomDegradation("photo", scale, p)
