"""PSNR and SSIM as super-resolution papers report them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.ops.checks import check_flag, check_tensor, shown, type_name

LUMA = (65.738, 129.057, 25.064)
"""RGB to Y of ITU-R BT.601 in studio range, over 256 (PSNR) or 255 (SSIM, plus 16) as the released code has it."""


def quantize(image: Tensor) -> Tensor:
    """Round to whole grey levels and clamp to 0 to 255.

    Raises:
        TypeError: The image isn't a tensor of real numbers.
    """
    check_tensor("quantize", "image", image)
    if image.is_complex():
        raise TypeError(f"quantize: image must be real; got {type_name(image.dtype)}.")
    return image.round().clamp(0, 255)


def psnr(sr: Tensor, hr: Tensor, *, border: int, luma: bool = True) -> Tensor:
    """Peak signal-to-noise ratio in dB; infinite for equal images.

    Source: `calc_psnr` of the released code. The images are compared as they are: `quantize` them first.

    Args:
        sr: Images `[C, H, W]` or `[B, C, H, W]` in 0 to 255, C 1 or 3.
        hr: As `sr`.
        border: Pixels left out on every side: the scale on benchmark sets.
        luma: Compare Y instead of RGB.

    Returns:
        float64, `[]` or `[B]`.

    Raises:
        TypeError: An image isn't a tensor of real numbers.
        ValueError: Shapes differ or are too small, or an image holds NaN or infinity.
    """
    _check("psnr", sr, hr, border, least=1)
    check_flag("psnr", "luma", luma)
    difference = (sr.double() - hr.double()) / 255
    if luma and difference.shape[-3] == 3:
        difference = _luma(difference) / 256
    inside = _crop(difference, border)
    return -10 * torch.log10(inside.square().mean((-3, -2, -1)))


def ssim(sr: Tensor, hr: Tensor, *, border: int) -> Tensor:
    """Structural similarity on Y as MATLAB's (11x11 Gaussian window of width 1.5, valid part only).

    Source: `calc_ssim` of the released code; Wang et al., 2004. Arguments, result and errors are those of `psnr`; the
    images must be 11 pixels high and wide inside the border.
    """
    _check("ssim", sr, hr, border, least=11)
    x, y = (
        _crop(_luma(image.double()) / 255 + 16 if image.shape[-3] == 3 else image.double(), border)
        for image in (sr, hr)
    )
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _window(x), _window(y)
    variance_x = _window(x * x) - mean_x**2
    variance_y = _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return similarity.mean((-3, -2, -1))


def _luma(image: Tensor) -> Tensor:
    weights = torch.tensor(LUMA, dtype=image.dtype, device=image.device)
    return (image * weights[:, None, None]).sum(-3, keepdim=True)


def _crop(image: Tensor, border: int) -> Tensor:
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]


def _window(image: Tensor) -> Tensor:
    axis = torch.arange(11, dtype=image.dtype, device=image.device) - 5
    weights = torch.exp(-(axis**2) / (2 * 1.5**2))
    weights = weights / weights.sum()
    flat = image.reshape(-1, 1, *image.shape[-2:])
    flat = F.conv2d(F.conv2d(flat, weights[None, None, :, None]), weights[None, None, None, :])
    return flat.reshape(*image.shape[:-2], *flat.shape[-2:])


def _check(name: str, sr: Tensor, hr: Tensor, border: int, least: int) -> None:
    if not isinstance(sr, Tensor) or not isinstance(hr, Tensor):
        raise TypeError(f"{name}: sr and hr must be tensors; got {type(sr).__name__} and {type(hr).__name__}.")
    if sr.shape != hr.shape or sr.dim() not in (3, 4) or sr.shape[-3] not in (1, 3):
        raise ValueError(
            f"{name}: sr and hr must both be [C, H, W] or [B, C, H, W] with C 1 or 3; got {list(sr.shape)} and "
            f"{list(hr.shape)}."
        )
    if not isinstance(border, int) or border < 0:
        raise ValueError(f"{name}: border must be a whole number and not negative; got {shown(border)}.")
    if min(sr.shape[-2:]) - 2 * border < least:
        raise ValueError(
            f"{name}: images must be at least {least + 2 * border} pixels high and wide for a border of {border}; "
            f"got {sr.shape[-2]} x {sr.shape[-1]}."
        )
    for which, image in (("sr", sr), ("hr", hr)):
        if image.is_complex():
            raise TypeError(f"{name}: {which} must be real; got {type_name(image.dtype)}.")
        if not torch.isfinite(image).all():
            raise ValueError(f"{name}: {which} holds NaN or infinity.")
