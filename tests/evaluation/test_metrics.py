import math

import pytest
import torch
from golden import arrays, table

from dasr_fast.evaluation import psnr, quantize, ssim


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_golden(scale: int):
    images, expected = arrays("evaluation"), table("evaluation")[f"noisy x{scale}"]
    sr, hr = (images[name].permute(2, 0, 1).float() for name in ("noisy", "hr"))
    assert psnr(sr, hr, border=scale).item() == pytest.approx(expected["psnr"], abs=1e-4)
    assert psnr(sr, hr, border=scale + 6, luma=False).item() == pytest.approx(expected["psnr_rgb"], abs=1e-4)
    assert ssim(sr, hr, border=scale).item() == pytest.approx(expected["ssim"], abs=1e-6)


def test_psnr_by_hand():
    hr = torch.zeros(3, 4, 4)
    sr = hr + torch.tensor([1.0, 2.0, 3.0])[:, None, None]
    luma = (65.738 + 2 * 129.057 + 3 * 25.064) / 256
    assert psnr(sr, hr, border=0).item() == pytest.approx(20 * math.log10(255 / luma))
    assert psnr(sr, hr, border=0, luma=False).item() == pytest.approx(10 * math.log10(255**2 / (14 / 3)))


def test_border_and_batches():
    sr, hr = torch.rand(2, 3, 20, 18) * 255, torch.rand(2, 3, 20, 18) * 255
    assert torch.equal(psnr(sr, hr, border=2), psnr(sr[..., 2:-2, 2:-2], hr[..., 2:-2, 2:-2], border=0))
    for metric in (psnr, ssim):
        both = metric(sr, hr, border=2)
        assert both.shape == (2,)
        torch.testing.assert_close(both[1], metric(sr[1], hr[1], border=2))


def test_equal_images():
    image = torch.rand(3, 16, 16) * 255
    assert psnr(image, image, border=2).item() == math.inf
    assert ssim(image, image, border=2).item() == pytest.approx(1)


def test_grey_images_are_compared_as_they_are():
    sr, hr = torch.zeros(1, 16, 16), torch.full((1, 16, 16), 5.0)
    assert psnr(sr, hr, border=0).item() == pytest.approx(20 * math.log10(255 / 5))


def test_quantize():
    assert quantize(torch.tensor([-3.0, 0.4, 1.6, 300.0])).tolist() == [0, 0, 2, 255]


@pytest.mark.parametrize("metric", [psnr, ssim])
def test_wrong_images(metric):
    image = torch.rand(3, 30, 30)
    with pytest.raises(ValueError, match=r"must both be \[C, H, W\]"):
        metric(image, image[:, :29], border=2)
    with pytest.raises(ValueError, match="C 1 or 3"):
        metric(image[:2], image[:2], border=2)
    with pytest.raises(ValueError, match="images must be at least"):
        metric(image, image, border=15)
    with pytest.raises(ValueError, match="border must be a whole number and not negative"):
        metric(image, image, border=-1)
    with pytest.raises(TypeError, match="must be tensors; got ndarray and Tensor"):
        metric(image.numpy(), image, border=2)
    with pytest.raises(ValueError, match="sr holds NaN or infinity"):
        metric(image * torch.nan, image, border=2)
