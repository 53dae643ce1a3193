import numpy as np
import pytest
import scipy.stats
import torch

from dasr_fast.degradation.noise import Noise, poisson_quantile
from dasr_fast.degradation.part import Draws, Parameters

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
