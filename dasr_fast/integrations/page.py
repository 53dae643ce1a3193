"""A page in the browser: drop a picture, see it before and after, save it; extra `demo`.

It listens on loopback only unless asked otherwise, and sends nothing anywhere.
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dasr_fast.images import Picture, read_image, write_image
from dasr_fast.inference.any_image import shared_engine
from dasr_fast.inference.noise import noise_level
from dasr_fast.inference.pictures import PictureWarning, bicubic, upscale
from dasr_fast.models.checkpoint import card_facts, shipped

LARGEST = 4_000_000
"""Pixels of the largest picture that is taken, so that nobody waits for hours by mistake."""

DEFAULT = "x4-photo"


def make(device: str = "auto") -> Any:
    """The page, a `gradio.Blocks`; its `launch` serves it.

    Raises:
        ImportError: gradio isn't installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio
    except ModuleNotFoundError:
        raise ImportError("The page needs gradio: pip install 'dasr-fast[demo]'.") from None
    trained_for = "; ".join(f"{name}: {card_facts(name)['degradation']}" for name in shipped())

    def run(path: str | None, weights: str, strength: float, progress: Any = gradio.Progress()) -> Any:  # noqa: B008
        if path is None:
            raise gradio.Error("Drop a picture first.")
        progress(0.05, "Reading the picture")
        try:
            lr = read_image(path)
            if lr.pixels.shape[0] * lr.pixels.shape[1] > LARGEST:
                raise ValueError(
                    f"The picture has more than {LARGEST / 1e6:g} megapixels; use the command line for it."
                )
            progress(0.2, "Super-resolving")
            before, after, found = restored(lr, weights, strength, device)
        except (ValueError, OSError, RuntimeError) as error:
            raise gradio.Error(str(error)) from None
        file = Path(tempfile.mkdtemp(prefix="dasr-fast-"), f"{Path(path).stem}_{weights}.png")
        write_image(file, after)
        return (_shown(before), _shown(after)), found, str(file)

    with gradio.Blocks(title="dasr-fast") as page:
        gradio.Markdown("# dasr-fast\nBlind super-resolution: drop a picture, and compare.")
        with gradio.Row():
            with gradio.Column(scale=1):
                picture = gradio.Image(type="filepath", label="Picture")
                weights = gradio.Dropdown(list(shipped()), value=DEFAULT, label="Weights", info=trained_for)
                strength = gradio.Slider(
                    0, 1, value=1, step=0.05, label="Strength", info="0: bicubic upsampling; 1: the network alone."
                )
                button = gradio.Button("Super-resolve", variant="primary")
            with gradio.Column(scale=2):
                slider = gradio.ImageSlider(label="Bicubic upsampling and DASR", show_label=True)
                found = gradio.Markdown()
                file = gradio.File(label="Result")
        button.click(run, [picture, weights, strength], [slider, found, file])
    return page.queue(default_concurrency_limit=1)


def restored(lr: Picture, weights: str, strength: float, device: str) -> tuple[Picture, Picture, str]:
    """A picture upsampled bicubically, super-resolved, and what was found out about it, in Markdown.

    Args:
        lr: The picture.
        weights: Name or path.
        strength: Share of the network in the result, 0 to 1; the rest is bicubic.
        device: "auto", "cpu" or "cuda".
    """
    engine = shared_engine(weights, device)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", PictureWarning)
        sr = upscale(engine, lr)
    before = Picture(bicubic(lr, engine.scale))
    after = sr
    if strength < 1:
        mixed = torch.lerp(before.tensor(), sr.tensor(), strength)
        after = sr.replaced(mixed, sr.alpha_plane())
    height, width = after.pixels.shape[:2]
    lines = [f"{lr.pixels.shape[1]} x {lr.pixels.shape[0]} became {width} x {height} pixels."]
    lines.append(f"The picture seems to have noise of {noise_level(lr.rgb()):.0f} grey levels.")
    unlike = [f"**{message.message}**" for message in told if issubclass(message.category, PictureWarning)]
    if not unlike and engine.bounds is not None:
        unlike = ["Its degradation is like those that the weights were trained with."]
    lines += unlike
    return before, after, "\n\n".join(lines)


def _shown(picture: Picture) -> Any:
    """Pixels of 8 bits in RGB, without transparency."""
    pixels = picture.pixels if picture.pixels.dtype == np.uint8 else (picture.pixels // 257).astype(np.uint8)
    return pixels.repeat(3, axis=2) if pixels.shape[2] == 1 else pixels
