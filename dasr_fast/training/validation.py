"""PSNR and SSIM of the present weights on a folder of HR images."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import torch
from torch import Tensor

from dasr_fast.degradation import bicubic_upsample, image_generator
from dasr_fast.evaluation import Setting, evaluate_image, evaluate_pair, mean_score, table2
from dasr_fast.evaluation.protocol import Restore
from dasr_fast.evaluation.setting import ANISOTROPIC
from dasr_fast.training.configuration import Configuration
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.pairs import LRImages
from dasr_fast.training.patches import Images

SMALLEST = 48
"""Pixels that an image must be high and wide."""

PICTURES = 3
"""Images that are shown."""

MakeRestore = Callable[[Setting], Restore]
"""Makes the method for a setting, at which only an oracle looks."""


@dataclass(frozen=True)
class Row:
    """Mean figures of a degradation over all images; the kernel says where LR images are from if they were given."""

    kernel: str
    noise: float | None
    psnr: float
    ssim: float
    jpeg: int | None = None


@dataclass(frozen=True)
class Best:
    """The step whose weights had the highest mean PSNR in dB, and what tells the images of that validation."""

    step: int
    psnr: float
    images: str


def settings(configuration: Configuration) -> list[Setting]:
    """The degradations of a validation, none stronger than those that the run trains for.

    Isotropic kernels have the widths of the paper's Table 2, up to the run's largest. Anisotropic ones are three of
    Table 3, scaled so that its largest width is the run's. Noise is 0, and 10 too if the run has that much. Those of
    photographs are three degrees of blur, noise and compression.
    """
    if configuration.degradation != "paper":
        degrees = ((0.0, 0.0, 90), (1.0, 5.0, 65), (2.0, 10.0, 40))
        return [Setting(sigma, noise=noise, jpeg=quality) for sigma, noise, quality in degrees]
    largest = configuration.largest_sigma
    kernels = [setting for setting in table2(configuration.scale) if setting.sigma <= largest]
    if configuration.kernel == "anisotropic":
        kernels = [Setting(largest / 4 * x, largest / 4 * y, theta) for x, y, theta in ANISOTROPIC[::4]]
    noises = (0.0, 10.0) if configuration.noise >= 10 else (0.0,)
    return [replace(kernel, noise=noise, mode=configuration.mode) for noise in noises for kernel in kernels]


def validate(images: ImageCache, make_restore: MakeRestore, chosen: list[Setting], scale: int) -> list[Row]:
    """Figures of each setting."""
    rows = []
    for setting in chosen:
        restore = make_restore(setting)
        scores = [
            evaluate_image(hr, name, restore, setting, scale)
            for name, hr in zip(images.names, _each(images), strict=True)
        ]
        mean = mean_score(scores)
        rows.append(Row(setting.kernel, setting.noise, mean.psnr, mean.ssim, setting.jpeg))
    return rows


def validate_pairs(images: ImageCache, lr: LRImages, restore: Restore, scale: int) -> list[Row]:
    """Figures of given LR images."""
    mean = mean_score(
        evaluate_pair(hr, lr_image, restore, scale) for hr, lr_image in zip(_each(images), _each(lr), strict=True)
    )
    return [Row(f"LR of {lr.images.folder.name}", None, mean.psnr, mean.ssim)]


def pictures(
    images: ImageCache, make_restore: MakeRestore, setting: Setting, scale: int
) -> Iterator[tuple[str, Tensor]]:
    """Name and picture of the first images: bicubic upsampling, SR and HR side by side, `[3, H, 3 * W]`."""
    restore = make_restore(setting)
    for name, hr in islice(zip(images.names, _each(images), strict=True), PICTURES):
        height, width = (size // scale * scale for size in hr.shape[-2:])
        hr = hr[:, :height, :width].float()
        lr = setting.degrade(hr[None], scale, image_generator(name))
        yield name, torch.cat((bicubic_upsample(lr, scale)[0], restore(lr)[0].cpu(), hr), dim=-1)


def _each(images: Images) -> Iterator[Tensor]:
    for i in range(len(images)):
        yield torch.from_numpy(images[i].copy()).permute(2, 0, 1)
