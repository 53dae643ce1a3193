"""A photograph degraded and restored: bicubic beside DASR."""

from pathlib import Path

import torch

from dasr_fast.degradation import bicubic_upsample
from dasr_fast.evaluation import Setting, psnr, quantize
from dasr_fast.images import ImageError, Picture, read_image, write_image
from dasr_fast.models import BlindSR

SETTINGS = (Setting(sigma=2.4), Setting(sigma=3.5, sigma_y=1.5, theta=30, noise=10))
"""Degradations of the picture's rows: one of Table 2 and one of Table 3."""

SIDE = 44
"""Pixels that a photograph must have at least."""


def write_picture(photo: Path, weights: str, path: Path) -> str:
    """Write HR, bicubic and SR side by side, a row for each of `SETTINGS`; returns their PSNR, or why there are none.

    Raises:
        FileNotFoundError: There is no such photograph, or no such weights.
        ImageError: It can't be read, or is too small.
    """
    try:
        import pyvips as pyvips
    except (ImportError, OSError) as error:  # The package is missing, or libvips.
        return f"No picture: photographs need the Python package pyvips: {str(error).splitlines()[0].rstrip('.')}."
    model = BlindSR.from_pretrained(weights)
    hr = read_image(photo).rgb()
    if min(hr.shape[-2:]) < SIDE:
        raise ImageError(f"{photo} is too small; at least {SIDE} pixels high and wide are needed.")
    hr = hr[..., : hr.shape[-2] // model.scale * model.scale, : hr.shape[-1] // model.scale * model.scale]
    rows, figures = [], []
    for setting in SETTINGS:
        lr, _ = setting.degradation(model.scale)(hr, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            restored = {"bicubic": bicubic_upsample(lr, model.scale), "DASR": model(lr)}
        images = {name: quantize(image) for name, image in restored.items()}
        rows.append(torch.cat([hr, *images.values()], dim=3))
        dbs = [f"{name} {psnr(image, hr, border=model.scale).item():.2f} dB" for name, image in images.items()]
        figures.append(f"kernel {setting.kernel} and noise {setting.noise:g}: {', '.join(dbs)}")
    write_image(path, Picture(torch.cat(rows, dim=2)[0].permute(1, 2, 0).byte().numpy()))
    return "\n  ".join([f"{path}: x{model.scale}; from left to right HR, bicubic, DASR", *figures])
