from pathlib import Path
from statistics import fmean

import pytest
import torch

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.evaluation import Setting, bicubic, evaluate_image, table2
from dasr_fast.images import read_image
from dasr_fast.training.configuration import configure
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.validation import SMALLEST, pictures, settings, validate


@pytest.fixture
def images(photos: Path) -> ImageCache:
    return ImageCache.open(photos, photos.parent / "cache", smallest=SMALLEST)


def test_settings_are_no_stronger_than_what_is_trained_for():
    x4 = settings(configure(None, {"data": "x"}))
    assert [(s.sigma, s.sigma_y, s.theta, s.noise) for s in x4[:3]] == [
        (2.0, 0.5, 0, 0.0),
        (3.5, 2.0, 90, 0.0),
        (4.0, 4.0, 180, 0.0),
    ]
    assert [s.noise for s in x4] == [0.0] * 3 + [10.0] * 3
    x2 = settings(configure(None, {"data": "x", "scale": 2, "kernel": "isotropic", "noise": 5}))
    assert (x2, max(s.sigma for s in settings(configure(None, {"data": "x", "scale": 3})))) == (table2(2), 3.0)
    narrow = {"data": "x", "sigma_max": 1.5, "mode": "s-fold"}
    for kernel, widths in (("isotropic", [0.0, 1.2]), ("anisotropic", [0.75, 1.3125, 1.5])):
        chosen = settings(configure(None, narrow | {"kernel": kernel, "noise": 0}))
        assert ([s.sigma for s in chosen], {s.mode for s in chosen}) == (widths, {"s-fold"})


def test_figures_are_the_protocols(images: ImageCache, photos: Path):
    chosen = [Setting(1.2), Setting(2.0, 1.0, 30.0, 10.0, "s-fold")]
    asked = []

    def make_restore(setting: Setting):
        asked.append(setting)
        return bicubic(2)

    rows = validate(images, make_restore, chosen, 2)
    assert asked == chosen
    for row, setting in zip(rows, chosen, strict=True):
        images = [(read_image(path).rgb()[0], path.name) for path in sorted(photos.iterdir())]
        scores = [evaluate_image(hr, name, bicubic(2), setting, 2) for hr, name in images]
        assert (row.kernel, row.noise) == (setting.kernel, setting.noise)
        assert row.psnr == pytest.approx(fmean(score.psnr for score in scores))
        assert row.ssim == pytest.approx(fmean(score.ssim for score in scores))


def test_pictures_are_bicubic_sr_and_hr(images: ImageCache):
    shown = list(pictures(images, lambda setting: lambda lr: torch.zeros(1, 3, 69, 78), Setting(), 3))
    assert [name for name, _ in shown] == ["0.png", "1.png", "2.png"]
    hr = torch.from_numpy(images[0].copy()).permute(2, 0, 1)[:, :69, :78].float()
    left, middle, right = shown[0][1].chunk(3, dim=2)
    assert torch.equal(right, hr)
    assert torch.equal(middle, torch.zeros_like(hr))
    lr, _ = Setting().degradation(3)(hr[None])
    assert torch.equal(left, bicubic_upsample(lr, 3)[0])
