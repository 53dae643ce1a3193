"""The photograph degraded and restored: bicubic beside DASR."""

from pathlib import Path

import torch

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.evaluation import Setting, psnr, quantize
from dasr_fast.images import Picture, read_image, write_image
from dasr_fast.models import BlindSR

SETTING = Setting(sigma=2.4)


def write_picture(photo: Path, weights: str, path: Path) -> str:
    """Write HR, bicubic and SR side by side, and return what they show with their PSNR.

    Raises:
        FileNotFoundError: There are no such weights.
    """
    model = BlindSR.from_pretrained(weights)
    hr = read_image(photo).rgb()
    hr = hr[..., : hr.shape[-2] // model.scale * model.scale, : hr.shape[-1] // model.scale * model.scale]
    lr, _ = SETTING.degradation(model.scale)(hr)
    with torch.inference_mode():
        images = {"HR": hr, "bicubic": bicubic_upsample(lr, model.scale), "DASR": model(lr)}
    side_by_side = quantize(torch.cat(list(images.values()), dim=3))
    write_image(path, Picture(side_by_side[0].permute(1, 2, 0).byte().numpy()))
    figures = [
        f"{name} {psnr(quantize(images[name]), hr, border=model.scale).item():.2f} dB" for name in ("bicubic", "DASR")
    ]
    return f"{path}, left to right: HR, {', '.join(figures)} (width {SETTING.sigma}, x{model.scale})"
