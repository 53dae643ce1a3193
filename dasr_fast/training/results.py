"""What a run leaves for those who use its weights: the weights, what is known of their training, and a model card."""

import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import dasr_fast
from dasr_fast.degradation import Degradation, Pipeline
from dasr_fast.device import processor_name
from dasr_fast.files import write_text
from dasr_fast.models import BlindSR, save_weights
from dasr_fast.models.bounds import make_bounds
from dasr_fast.processes import Processes
from dasr_fast.training.configuration import Configuration
from dasr_fast.training.patches import Images
from dasr_fast.training.validation import Best, Row

MOST = 1024
"""Pieces of images that are encoded for the bounds; if there are few images, 16 of each."""

MARGIN = 1.0
"""Room beyond the outermost embedding: photographs of Set5, Set14 and B100 reach up to twice as far from the mean."""

SMALLEST, LARGEST = 16, 128
"""Sides of the pieces in LR pixels. Embeddings are means over pixels, so those of larger pieces vary less."""


@torch.no_grad()
def measure_bounds(model: BlindSR, images: Images, degradation: Degradation | Pipeline) -> Tensor:
    """Bounds `[3, 256]` for `model.G.bounds`: of the embeddings of pieces of training images, each degraded anew.

    The pieces are squares of all sizes, smaller and larger than training's patches. The same arguments give the same
    bounds; no other random numbers are drawn.

    Args:
        model: The network, in evaluation mode.
        images: HR images, each at least `16 * scale` high and wide; smaller ones are taken whole.
        degradation: What the weights were trained with.
    """
    device = next(model.parameters()).device
    random, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    scale = degradation.scale
    embeddings = []
    for i in random.permutation(np.arange(16 * len(images)) % len(images))[:MOST]:
        image = images[int(i)]
        largest = min(*(length // scale for length in image.shape[:2]), LARGEST)
        smallest = min(SMALLEST, largest)
        # Squared, for more of the small ones, in which the zeros beyond the edges count most.
        side = round(smallest * (largest / smallest) ** (random.uniform() ** 2)) * scale
        top, left = (random.integers(length - side + 1) for length in image.shape[:2])
        piece = image[top : top + side, left : left + side].transpose(2, 0, 1)
        hr = torch.from_numpy(np.ascontiguousarray(piece))[None].to(device)
        embeddings.append(model.encode(degradation(hr, generator=generator)[0]))
    return make_bounds(torch.cat(embeddings), MARGIN)


def write_weights(network: BlindSR, folder: Path, configuration: Configuration, step: int) -> None:
    """Write `weights.safetensors`, and `weights.pt` if it is wanted, with the released model's keys.

    Only the former says what they were trained with.
    """
    facts = {"scale": configuration.scale, "step": step, "licence": configuration.licence}
    save_weights(network, folder / "weights.safetensors", {name: str(value) for name, value in facts.items()})
    if configuration.pt:
        save_weights(network, folder / "weights.pt")


def write_card(
    folder: Path,
    c: Configuration,
    images: int,
    steps: tuple[int, int],
    rows: Sequence[Row],
    best: Best | None,
    processes: Processes,
) -> None:
    """Write the model card `README.md`: data, recipe, steps, figures, machine, versions.

    `images` is their number, `steps` are those that were taken and those of the whole recipe. Figures are those of the
    latest validation and the best one, if there was any.
    """
    lines = [
        f"# DASR x{c.scale}",
        "",
        "Blind super-resolution (Wang et al., CVPR 2021), trained with dasr-fast.",
        "",
        "| | |",
        "|---|---|",
        f"| licence | {c.licence} |",
        f"| data | {images} images of {c.data.name} |",
        f"| degradation | {_degradation(c)} |",
        f"| representation | {c.representation} |",
        f"| network | {c.groups} groups of {c.blocks} blocks, {c.channels} channels, {c.depthwise} depthwise kernels, "
        f"gate {c.gate} |",
        f"| steps | {steps[0]} of {steps[1]}, batch {c.batch}, LR patches of {c.patch} pixels |",
        *([f"| begun with | {Path(c.initial_weights).name} |"] if c.initial_weights else []),
        f"| precision | {c.precision} |",
        f"| moving average | {f'decay {c.ema:g}' if c.ema else 'none'} |",
        f"| seed | {c.seed} |",
        f"| machine | {_machine(processes)} |",
        f"| versions | dasr-fast {dasr_fast.__version__}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()} |",
        "",
        "All settings are in `configuration.toml`, all figures in `log.jsonl`.",
    ]
    if rows:
        name = "" if c.validation is None else f" on the images of {c.validation.name}"
        lines += ["", f"PSNR in dB and SSIM on Y{name}:", ""]
        lines += ["| kernel | noise | JPEG | PSNR | SSIM |", "|---|---|---|---|---|"]
        for row in rows:
            noise, jpeg = ("" if row.noise is None else f"{row.noise:g}"), ("" if row.jpeg is None else row.jpeg)
            lines.append(f"| {row.kernel} | {noise} | {jpeg} | {row.psnr:.2f} | {row.ssim:.4f} |")
    if best is not None and best.step != steps[0]:
        where = f"The best weights were those of step {best.step}, with {best.psnr:.2f} dB on average"
        lines += ["", f"{where}; their checkpoint is kept."]
    write_text(folder / "README.md", "\n".join(lines) + "\n")


def _degradation(c: Configuration) -> str:
    if c.lr is not None:
        return f"that of the LR images of {c.lr.name}"
    if c.degradation != "paper":
        return f"preset {c.degradation}"
    widths = f"{c.sigma_min:g} to {c.largest_sigma:g}"
    return f"{c.kernel} Gaussian kernels of widths {widths}, {c.mode} downsampling, noise up to {c.noise:g}"


def _machine(processes: Processes) -> str:
    """The processors that a run uses, in words."""
    if processes.device.type == "cuda":
        return f"{processes.world} x {torch.cuda.get_device_name(processes.device)}"
    return f"{processes.world} x {torch.get_num_threads()} threads of {processor_name()}"
