"""Every parameter is distributed as the published degradations have it."""

import math
from collections.abc import Sequence

import pytest
import scipy.stats
import torch
from torch import Tensor

from dasr_fast.degradation import Degradation, preset
from dasr_fast.degradation.part import Parameters

N = 8_000
HR = (400, 320)


def drawn(name: str, scale: int = 4) -> tuple[Parameters, ...]:
    degradation = preset(name, scale)
    return degradation.draw((N, 3, *HR), torch.device("cpu"), torch.Generator().manual_seed(1)).parts


def is_uniform(x: Tensor, low: float, high: float) -> None:
    assert low <= x.min()
    assert x.max() <= high + 1e-6
    assert scipy.stats.kstest(x.numpy(), scipy.stats.uniform(low, high - low).cdf).pvalue > 1e-4


def has_shares(x: Tensor, shares: Sequence[float]) -> None:
    """Number i comes with the probability `shares[i]`."""
    assert math.isclose(sum(shares), 1)
    counts = torch.bincount(x.long(), minlength=len(shares))
    assert len(counts) == len(shares)
    assert all((count > 0) == (share > 0) for count, share in zip(counts.tolist(), shares, strict=True))
    for count, share in zip(counts.tolist(), shares, strict=True):
        assert abs(count - share * len(x)) <= 4.5 * math.sqrt(len(x) * share * (1 - share))


def happens(x: Tensor, probability: float) -> None:
    has_shares(x, (1 - probability, probability))


def each_as_often(x: Tensor, values: Sequence[int]) -> None:
    numbers = torch.searchsorted(torch.tensor(values), x.contiguous())
    assert torch.equal(torch.tensor(values)[numbers], x)
    has_shares(numbers, [1 / len(values)] * len(values))


def is_two_sided(x: Tensor, low: float, high: float) -> None:
    """Half of the numbers are uniform below 1, and half above."""
    if low < 1:
        happens(x < 1, 0.5)
        is_uniform(x[x < 1], low, 1)
    else:
        happens(x == 1, 0.5)
    is_uniform(x[x > 1], 1, high)


def check_blur(part: Parameters, sigma: tuple[float, float], probability: float, sinc: float) -> None:
    x = part.numbers
    each_as_often(x["size"], range(7, 22, 2))
    has_shares(x["kind"], (0.45, 0.25, 0.12, 0.03, 0.12, 0.03))
    turned = x["kind"] % 2 == 1
    is_uniform(x["sigma_x"], *sigma)
    is_uniform(x["sigma_y"][turned], *sigma)
    is_uniform(x["theta"][turned], 0, math.pi)
    assert torch.equal(x["sigma_x"][~turned], x["sigma_y"][~turned])
    assert (x["theta"][~turned] == 0).all()
    is_two_sided(x["beta"][x["kind"] // 2 == 1], 0.5, 4)
    is_two_sided(x["beta"][x["kind"] // 2 == 2], 1, 2)
    happens(x["blurs"], probability)
    happens(x["rings"], sinc)
    is_uniform(x["cutoff"][x["size"] < 13], math.pi / 3, math.pi)
    is_uniform(x["cutoff"][x["size"] >= 13], math.pi / 5, math.pi)
    assert (x["kernel"].sum((1, 2)) - 1).abs().max() < 1e-4
    outside = torch.ones(21, 21, dtype=torch.bool)
    outside[7:14, 7:14] = False
    assert (x["kernel"][x["size"] == 7][:, outside] == 0).all()


def check_resize(
    part: Parameters, shares: tuple[float, float, float], ends: tuple[float, float], start: Sequence[float]
) -> None:
    x = part.numbers
    factor = x["factor"]
    has_shares(torch.where(factor > 1, 0, torch.where(factor < 1, 1, 2)), shares)
    is_uniform(factor[factor > 1], 1, ends[1])
    is_uniform(factor[factor < 1], ends[0], 1)
    each_as_often(x["mode"], range(3))
    expected = (torch.tensor(start).double() * factor.double()[:, None]).floor()
    assert (x["size"] - expected).abs().max() == 0


def check_noise(part: Parameters, gaussian: tuple[float, float], poisson: tuple[float, float]) -> None:
    x = part.numbers
    assert x["noisy"].all()
    happens(x["poisson"], 0.5)
    is_uniform(x["level"][x["poisson"]], *poisson)
    is_uniform(x["level"][~x["poisson"]], *gaussian)
    happens(x["grey"], 0.4)


def check_jpeg(part: Parameters, probability: float = 1.0) -> None:
    happens(part.numbers["compresses"], probability)
    for name in ("above", "left"):
        each_as_often(part.numbers[name], range(16))
    each_as_often(part.numbers["quality"], range(30, 96))
    assert (part.numbers["subsampling"] == 2).all()


def test_second_order():
    first_blur, first_resize, first_noise, first_jpeg, blur, resize, noise, last = drawn("second-order")
    check_blur(first_blur, (0.2, 3), 1.0, 0.1)
    check_resize(first_resize, (0.2, 0.7, 0.1), (0.15, 1.5), HR)
    check_noise(first_noise, (1, 30), (0.05, 3))
    check_jpeg(first_jpeg)
    check_blur(blur, (0.2, 1.5), 0.8, 0.1)
    check_resize(resize, (0.3, 0.4, 0.3), (0.3, 1.2), (100, 80))
    check_noise(noise, (1, 25), (0.05, 2.5))
    happens(last.numbers["places"][:, 0], 0.5)
    (back, ringing), jpeg = last.parts[0].parts, last.parts[1]
    assert (back.numbers["size"] == torch.tensor([100, 80])).all()
    each_as_often(back.numbers["mode"], range(3))
    happens(ringing.numbers["rings"], 0.8)
    each_as_often(ringing.numbers["size"], range(7, 22, 2))
    is_uniform(ringing.numbers["cutoff"], math.pi / 3, math.pi)
    check_jpeg(jpeg)


@pytest.mark.parametrize("scale", [2, 4])
def test_bsrgan(scale: int):
    halving, shuffled, last = drawn("bsrgan", scale)
    halves = halving.numbers["halves"]
    happens(halves, 0.25 if scale == 4 else 0.0)
    left = torch.where(halves, 2, scale)
    whole = torch.tensor(HR) // torch.where(halves, 2, 1)[:, None]
    assert torch.equal(halving.numbers["size"], whole)
    happens(halving.numbers["smooth"], 0.5)
    each_as_often(halving.numbers["mode"][~halving.numbers["smooth"]], range(3))
    for part in shuffled.parts[:2]:
        x = part.numbers
        each_as_often(x["size"], range(7, 26, 2))
        happens(x["turned"], 0.5)
        for n in (2, 4):
            turned, straight = (left == n) & x["turned"], (left == n) & ~x["turned"]
            if turned.any():
                is_uniform(x["sigma_x"][turned] ** 2, 0, 4 + n)
                is_uniform(x["sigma_y"][turned] ** 2, 0, 4 + n)
                is_uniform(x["sigma_x"][straight], 0, 2 + 0.2 * n)
                assert torch.equal(x["sigma_x"][straight], x["sigma_y"][straight])
        is_uniform(x["theta"], 0, math.pi)
    x = shuffled.parts[2].numbers
    happens(x["resizes"], 0.75)
    each_as_often(x["mode"], range(3))
    for n in (2, 4):
        if (left == n).any():
            is_uniform(x["factor"][(left == n) & x["resizes"]], 1, 2 * n)
            assert (x["factor"][(left == n) & ~x["resizes"]] == n).all()
            is_uniform(x["sigma"][left == n], 0.1, 0.6 * n)
    assert torch.equal(x["size"], (whole / x["factor"].double()[:, None]).long())
    x = shuffled.parts[3].numbers
    assert (x["size"] == torch.tensor(HR) // scale).all()
    each_as_often(x["mode"], range(3))
    x = shuffled.parts[4].numbers
    each_as_often(x["level"], range(2, 26))
    has_shares(x["kind"], (0.4, 0.4, 0.2))
    covariance = x["mix"] @ x["mix"].mT
    level = x["level"].float()[:, None, None] ** 2
    torch.testing.assert_close(covariance[x["kind"] == 0], (level * torch.eye(3))[x["kind"] == 0])
    torch.testing.assert_close(covariance[x["kind"] == 1], (level * torch.ones(3, 3))[x["kind"] == 1])
    assert (torch.diagonal(covariance[x["kind"] == 2], dim1=1, dim2=2) <= 1.5 * 25**2).all()
    check_jpeg(shuffled.parts[5], 0.9)
    happens(shuffled.parts[6].numbers["happens"], 0.25)
    places = shuffled.numbers["places"]
    assert (places[:, 2] < places[:, 3]).all()
    for number in (0, 1, 4, 5, 6):
        each_as_often(places[:, number], range(7))
    check_jpeg(last)


def test_photo():
    blur, resize, noise, jpeg, again = drawn("photo")
    x = blur.numbers
    happens(x["blurs"], 0.9)
    is_uniform(x["sigma_x"], 0.1, 3)
    assert (resize.numbers["size"] == torch.tensor([100, 80])).all()
    has_shares(resize.numbers["mode"], (0.2, 0.2, 0.6))
    x = noise.numbers
    happens(x["noisy"], 0.8)
    happens(x["poisson"], 0.3)
    is_uniform(x["level"][~x["poisson"]], 0, 15)
    is_uniform(x["level"][x["poisson"]], 0.05, 1)
    happens(x["grey"], 0.25)
    happens(jpeg.numbers["compresses"], 0.8)
    each_as_often(jpeg.numbers["quality"], range(30, 96))
    happens(again.numbers["compresses"], 0.15)
    each_as_often(again.numbers["quality"], range(50, 96))
    for part in (jpeg, again):
        has_shares(part.numbers["subsampling"], (0.2, 0.1, 0.7))


@pytest.mark.parametrize("scale", [2, 4])
def test_paper_is_the_degradation_as_it_was(scale: int):
    hr = torch.randint(0, 256, (3, 2, 3, 48, 48)).byte()
    expected, _ = Degradation(scale, sigma=(0.2, scale))(hr, generator=torch.Generator().manual_seed(4))
    assert torch.equal(preset("paper", scale)(hr, generator=torch.Generator().manual_seed(4))[0], expected)
