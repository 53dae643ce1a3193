"""What a run leaves for those who use its weights: files of weights and a model card."""

import platform
from collections.abc import Sequence
from pathlib import Path

import torch

import dasr_fast
from dasr_fast.files import written_whole
from dasr_fast.models import BlindSR, save_weights
from dasr_fast.training.configuration import Configuration
from dasr_fast.training.validation import Best, Row


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
    configuration: Configuration,
    *,
    images: int,
    step: int,
    total: int,
    rows: Sequence[Row],
    best: Best | None,
    machine: str,
) -> None:
    """Write the model card `README.md`: data, recipe, steps, figures, machine, versions.

    Args:
        folder: Of the run.
        configuration: The recipe.
        images: Number of training images.
        step: Steps that were taken.
        total: Steps of the whole recipe.
        rows: Figures of the latest validation; none if there was none.
        best: Of all validations; None if there was none.
        machine: On what it ran.
    """
    c = configuration
    lines = [
        f"# DASR x{c.scale}",
        "",
        "Blind super-resolution (Wang et al., CVPR 2021), trained with dasr-fast.",
        "",
        "| | |",
        "|---|---|",
        f"| licence | {c.licence} |",
        f"| data | {images} images of {c.data.name} |",
        f"| degradation | {c.kernel} Gaussian kernels of widths {c.sigma_min:g} to {c.largest_sigma:g}, {c.mode} "
        f"downsampling, noise up to {c.noise:g} |",
        f"| representation | {c.representation} |",
        f"| network | {c.groups} groups of {c.blocks} blocks, {c.channels} channels, {c.depthwise} depthwise kernels, "
        f"gate {c.gate} |",
        f"| steps | {step} of {total}, batch {c.batch}, LR patches of {c.patch} pixels |",
        *([f"| begun with | {Path(c.initial_weights).name} |"] if c.initial_weights else []),
        f"| precision | {c.precision} |",
        f"| moving average | {f'decay {c.ema:g}' if c.ema else 'none'} |",
        f"| seed | {c.seed} |",
        f"| machine | {machine} |",
        f"| versions | dasr-fast {dasr_fast.__version__}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()} |",
        "",
        "All settings are in `configuration.toml`, all figures in `log.jsonl`.",
    ]
    if rows:
        name = "" if c.validation is None else f" on the images of {c.validation.name}"
        lines += [
            "",
            f"PSNR in dB and SSIM on Y{name}:",
            "",
            "| kernel | noise | PSNR | SSIM |",
            "|---|---|---|---|",
            *(f"| {row.kernel} | {row.noise:g} | {row.psnr:.2f} | {row.ssim:.4f} |" for row in rows),
        ]
    if best is not None and best.step != step:
        lines += ["", f"The best weights were those of step {best.step}, with {best.psnr:.2f} dB on average; their "]
        lines[-1] += "checkpoint is kept."
    with written_whole(folder / "README.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def describe_machine(device: torch.device, world: int) -> str:
    """The processors that a run uses, in words."""
    if device.type == "cuda":
        return f"{world} x {torch.cuda.get_device_name(device)}"
    return f"{world} x {torch.get_num_threads()} threads of {_processor()}"


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    for line in facts.read_text().splitlines() if facts.is_file() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
