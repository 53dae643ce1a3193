"""The paper's protocol: HR images degraded on the fly, restored, and compared on Y inside a border."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

import torch
from torch import Tensor

from dasr_fast.degradation import bicubic_upsample, image_generator
from dasr_fast.evaluation.metrics import psnr, quantize, ssim
from dasr_fast.evaluation.scores import Metric
from dasr_fast.evaluation.setting import PresetSetting, Setting
from dasr_fast.models import BlindSR
from dasr_fast.ops.checks import check_scale, check_tensor, shown

Restore = Callable[[Tensor], Tensor]
"""LR images `[1, 3, h, w]` in 0 to 255 to SR images `[1, 3, h * scale, w * scale]`."""

Metrics = Mapping[str, Metric]
NONE: Metrics = {}


@dataclass(frozen=True)
class Score:
    """Figures of one image: PSNR in dB and SSIM, both on Y, and those of further metrics on RGB, by name."""

    psnr: float
    ssim: float
    others: Mapping[str, float] = field(default_factory=dict)


def mean_score(scores: Iterable[Score]) -> Score:
    """The mean figures of one image or more.

    The mean PSNR leaves out images that are restored exactly, such as flat ones, whose PSNR is infinite; it is infinite
    if there are no others.

    Raises:
        TypeError: They aren't all `Score`.
        ValueError: There are none.
    """
    scores = list(scores)
    if not scores:
        raise ValueError("mean_score: scores must be one or more; got none.")
    if not all(isinstance(score, Score) for score in scores):
        raise TypeError(f"mean_score: scores must be Score; got {type(scores[0]).__name__}.")
    psnr = [score.psnr for score in scores if math.isfinite(score.psnr)]
    others = {name: fmean(score.others[name] for score in scores) for name in scores[0].others}
    return Score(fmean(psnr) if psnr else math.inf, fmean(score.ssim for score in scores), others)


def evaluate_image(
    hr: Tensor,
    name: str,
    restore: Restore,
    setting: Setting | PresetSetting,
    scale: int,
    *,
    seed: int = 0,
    metrics: Metrics = NONE,
) -> Score:
    """Degrade, restore and compare one image.

    The image is cropped to a multiple of the scale. SR and HR are rounded and clamped, and `scale` pixels left out on
    every side. What is random depends on `seed` and `name`, not on other images or their order.

    Args:
        hr: HR image `[3, H, W]` in 0 to 255, uint8 or floating point.
        name: The image's.
        restore: The method.
        setting: The degradation.
        scale: 1 to 4.
        seed: Decides what is random.
        metrics: Further ones by name, see `find_metric`.

    Raises:
        TypeError: The image isn't a tensor, the method can't be called, or the setting is none.
        ValueError: The scale is another, the image isn't `[3, H, W]` or too small for the kernel, the scale or the
            metrics, or SR isn't finite.
    """
    check_tensor("evaluate_image", "hr", hr)
    if hr.dim() != 3 or hr.shape[0] != 3:
        raise ValueError(f"evaluate_image: hr must be [3, H, W]; got {list(hr.shape)}.")
    if not callable(restore):
        raise TypeError(f"evaluate_image: restore must be a function of LR images; got {shown(restore)}.")
    if not isinstance(setting, (Setting, PresetSetting)):
        raise TypeError(f"evaluate_image: setting must be a Setting; got {shown(setting)}.")
    check_scale("evaluate_image", scale)
    height, width = (size // scale * scale for size in hr.shape[-2:])
    hr = hr[:, :height, :width]
    lr = setting.degrade(hr[None].float(), scale, image_generator(name, seed))
    return _score(restore(lr)[0], hr, scale, metrics)


def evaluate_pair(hr: Tensor, lr: Tensor, restore: Restore, scale: int, *, metrics: Metrics = NONE) -> Score:
    """Restore a given LR image and compare it, as `evaluate_image` does.

    Args:
        hr: HR image `[3, H, W]` in 0 to 255, uint8 or floating point.
        lr: Its LR image `[3, H // scale, W // scale]`, likewise.
        restore: The method.
        scale: 1 to 4.
        metrics: Further ones by name, see `find_metric`.

    Raises:
        ValueError: The images have other sizes, or are too small for the metrics.
    """
    height, width = (size // scale for size in hr.shape[-2:])
    if tuple(lr.shape[-2:]) != (height, width):
        raise ValueError(
            f"An LR image of {width}x{height} pixels belongs to an HR image of {hr.shape[-1]}x"
            f"{hr.shape[-2]} at scale {scale}; got {lr.shape[-1]}x{lr.shape[-2]}."
        )
    return _score(restore(lr[None].float())[0], hr[:, : height * scale, : width * scale], scale, metrics)


def _score(sr: Tensor, hr: Tensor, scale: int, metrics: Metrics) -> Score:
    sr, hr = quantize(sr.to(hr.device)), quantize(hr.float())
    inner = (..., slice(scale, -scale), slice(scale, -scale))
    others = {name: metric(sr[inner], hr[inner]) for name, metric in metrics.items()}
    return Score(psnr(sr, hr, border=scale).item(), ssim(sr, hr, border=scale).item(), others)


def bicubic(scale: int) -> Restore:
    """The baseline: bicubic upsampling.

    Raises:
        ValueError: The scale isn't 1, 2, 3 or 4.
    """
    check_scale("bicubic", scale)
    return lambda lr: bicubic_upsample(lr, scale)


def network(model: BlindSR) -> Restore:
    """DASR with a model in evaluation mode, on the model's device.

    Raises:
        TypeError: The model isn't a module.
    """
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"network: model must be a BlindSR; got {shown(model)}.")
    device = next(model.parameters()).device

    @torch.inference_mode()
    def restore(lr: Tensor) -> Tensor:
        lr = lr.to(device)
        return model.restore(lr, model.encode(lr))

    return restore
