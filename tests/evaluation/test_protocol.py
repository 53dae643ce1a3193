import math

import pytest
import torch
from golden import arrays, table

from dasr_fast.evaluation import Setting, bicubic, evaluate_image, network, psnr, quantize, ssim, table2, table3
from dasr_fast.models import BlindSR

ROWS = {key: value for key, value in table("evaluation").items() if key.startswith("bicubic")}
HR = arrays("evaluation")["hr"].permute(2, 0, 1)


@pytest.mark.parametrize("row", ROWS)
def test_golden_bicubic(row: str):
    _, scale, kind, widths = row.split()
    numbers = [float(number) for number in widths.split(",")]
    setting = Setting(numbers[0]) if kind == "iso" else Setting(*numbers)
    score = evaluate_image(HR, "a", bicubic(int(scale[1])), setting, int(scale[1]))
    assert score.psnr == pytest.approx(ROWS[row]["psnr"], abs=1e-3)
    assert score.ssim == pytest.approx(ROWS[row]["ssim"], abs=1e-5)


def test_noise_depends_on_name_and_seed():
    def figure(name: str, seed: int = 0) -> float:
        return evaluate_image(HR, name, bicubic(4), Setting(1.2, noise=10.0), 4, seed=seed).psnr

    assert figure("a") == figure("a")
    assert figure("a") != figure("b")
    assert figure("a") != figure("a", seed=1)
    assert figure("a") < evaluate_image(HR, "a", bicubic(4), Setting(1.2), 4).psnr


def test_network_restores():
    model = BlindSR(2, channels=8, groups=1, blocks=1).eval()
    lr = torch.rand(1, 3, 12, 10) * 255
    assert torch.equal(network(model)(lr), model(lr))


def test_sets_of_the_paper():
    assert [s.sigma for s in table2(2)] == [0, 0.6, 1.2, 1.8]
    assert [s.sigma for s in table2(3)] == [0, 0.8, 1.6, 2.4]
    assert [s.sigma for s in table2(4)] == [0, 1.2, 2.4, 3.6]
    rows = table3(4)
    assert (len(rows), rows[9], rows[-1].kernel) == (27, Setting(2.0, 0.5, 0, 5.0), "(4.0, 4.0, 180)")
    with pytest.raises(ValueError, match="Table 3 has scale 4 only; got 2"):
        table3(2)
    with pytest.raises(ValueError, match="Table 2 has scales 2, 3 and 4; got 1"):
        table2(1)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_golden_scores(scale: int):
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
def test_wrong_images_to_score(metric):
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
