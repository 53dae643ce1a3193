"""`dasr-fast evaluate`."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click

from dasr_fast.cli import common
from dasr_fast.cli.common import NAME, PATH, Report, option
from dasr_fast.files import write_json
from dasr_fast.progress import Progress


@click.command()
@click.argument("source", type=PATH)
@option("--scale", type=click.IntRange(2, 4), help="2, 3 or 4; that of --method if left out, else 4.")
@option("--method", type=NAME, help='"bicubic", or name or path of DASR weights; those of the scale if left out.')
@common.degradation_options
@common.preset_option
@option("--table2", "rows", flag_value="table2", help="The paper's Table 2: isotropic widths of the scale.")
@option("--table3", "rows", flag_value="table3", help="Table 3: nine anisotropic kernels, noise 0, 5, 10.")
@option("--lr", "lr_folder", type=PATH, help="Folder of LR images of the same names, in place of degraded ones.")
@option(
    "--metric",
    "metric_names",
    multiple=True,
    help="A further score by pyiqa's name, such as lpips or niqe, on RGB (extra scores); may be given several times.",
)
@option("--download", is_flag=True, help="Let pyiqa download what a metric needs.")
@option(
    "--precision",
    type=click.Choice(["fp32", "tf32", "fp16", "bf16"]),
    default="fp32",
    help="Precision of the network; tf32 needs a GPU.",
)
@option("--json", "json_path", type=PATH, help="Write all figures to this file.")
@common.seed_option
@common.device_option
@common.overwrite_option
def evaluate(
    source: Path,
    scale: int | None,
    method: str | None,
    preset: str | None,
    rows: str | None,
    lr_folder: Path | None,
    metric_names: tuple[str, ...],
    download: bool,
    precision: str,
    json_path: Path | None,
    seed: int,
    device: str,
    overwrite: bool,
    fixed: common.DegradationOptions,
) -> int:
    """Degrade HR images, restore them, and print PSNR and SSIM.

    Both are measured on Y, without a border of SCALE pixels.

    With --lr, given LR images are restored. SOURCE is a folder, such as Set5, or one image. Images that can't be read
    or are too small are reported and left out. The mean PSNR leaves out images that are restored exactly, whose PSNR is
    infinite (null in --json). Exit code: 0 if all was done, 1 if an image failed or the file of --json couldn't be
    written, 2 if nothing was tried.

    \b
    dasr-fast evaluate Set5/ --scale 4 --method bicubic --sigma 1.2
    dasr-fast evaluate Set14/ --method model_600.pt --table3 --json set14.json
    dasr-fast evaluate photos/ --preset photo --seed 1
    dasr-fast evaluate pairs/hr/ --lr pairs/lr/
    """
    from dasr_fast.device import find_device
    from dasr_fast.evaluation import (
        PresetSetting,
        bicubic,
        evaluate_image,
        evaluate_pair,
        find_metric,
        table2,
        table3,
    )
    from dasr_fast.images import read_image
    from dasr_fast.inference import Engine

    images = common.input_images(source)
    setting = fixed.setting()
    whole = {"--lr": lr_folder, "--preset": preset, f"--{rows}": rows}
    chosen = [name for name, value in whole.items() if value is not None]
    if len(chosen) > 1:
        raise click.UsageError(f"{chosen[0]} and {chosen[1]} are different degradations; name one.")
    if chosen and (fixed.blurs or fixed.noise or (fixed.given and rows is None)):  # Tables take --jpeg and --mode.
        raise click.UsageError(f"{chosen[0]} has its own kernels and noise; leave out --sigma and the like.")
    if json_path is not None:
        common.check_target(json_path, overwrite)
    if method == "bicubic":
        scale = scale or 4
        restore = bicubic(scale)
    else:
        model = common.load_model(method, scale, device)
        restore, scale = Engine(model, precision), model.scale
    settings: list[Any]
    if lr_folder is not None:
        settings = [_Given(lr_folder.resolve().name)]
    elif preset is not None:
        settings = [PresetSetting(preset)]
    elif rows is not None:
        table = table2 if rows == "table2" else table3
        settings = [replace(row, mode=fixed.mode, jpeg=fixed.jpeg) for row in table(scale)]
    else:
        settings = [setting]
    lr_images = {} if lr_folder is None else _lr_images(images, lr_folder, scale)
    try:
        metrics = {name: find_metric(name, find_device(device), download=download) for name in metric_names}
    except ImportError as error:
        raise click.UsageError(str(error)) from None
    report = Report()
    scores: dict[Any, dict[str, Any]] = {setting: {} for setting in settings}
    for path in Progress(images, "Evaluating", len(images)):
        with report.guard(path):
            hr = read_image(path).rgb()[0]
            if lr_folder is not None:
                found = [evaluate_pair(hr, read_image(lr_images[path]).rgb()[0], restore, scale, metrics=metrics)]
            else:
                found = [
                    evaluate_image(hr, path.name, restore, setting, scale, seed=seed, metrics=metrics)
                    for setting in settings
                ]
            for setting, score in zip(settings, found, strict=True):
                scores[setting][path.name] = score
    if report.done:
        _print_table(scores, f"{source.resolve().name} x{scale} {method or 'DASR'}")
    if json_path is not None:
        facts = {"source": source.resolve().name, "scale": scale, "method": method or f"x{scale}", "seed": seed}
        facts |= {} if method == "bicubic" else {"precision": precision}
        figures = {"rows": [_row(*row) for row in scores.items()], "failed": report.reasons()}
        with report.guard(json_path, counted=False):
            write_json(json_path, facts | figures)
    return report.finish(f"Evaluated {source}")


def _lr_images(images: list[Path], folder: Path, scale: int) -> dict[Path, Path]:
    """The LR image of each image."""
    from dasr_fast.pairs import pairs

    found = common.input_images(folder)
    numbers = pairs([image.name for image in images], [image.name for image in found], scale)
    return {image: found[number] for image, number in zip(images, numbers, strict=True)}


@dataclass(frozen=True)
class _Given:
    """LR images that are given."""

    lr: str

    @property
    def names(self) -> dict[str, str]:
        """What the table says of them, by column."""
        return {"LR": self.lr}


def _print_table(scores: dict[Any, dict[str, Any]], title: str) -> None:
    from dasr_fast.evaluation import mean_score

    rows, means = [], []
    for setting, by_image in scores.items():
        for name, score in by_image.items() if len(scores) == 1 else ():
            rows.append((*setting.names.values(), name, *_figures(score)))
        mean, exact = mean_score(by_image.values()), sum(math.isinf(score.psnr) for score in by_image.values())
        name = f"mean of {len(by_image)}" + (f", PSNR without {exact} exact" if exact else "")
        means.append((*setting.names.values(), name, *_figures(mean)))
    columns = (*next(iter(scores)).names, "image", "PSNR", "SSIM", *mean.others)
    common.print_table(title, columns, rows, means)


def _figures(score: Any) -> tuple[str, ...]:
    return f"{score.psnr:.2f}", f"{score.ssim:.4f}", *(f"{value:.4f}" for value in score.others.values())


def _row(setting: Any, by_image: dict[str, Any]) -> dict[str, Any]:
    """What --json says of a degradation."""
    from dasr_fast.evaluation import mean_score

    mean = mean_score(by_image.values()) if by_image else None
    return {
        **asdict(setting),
        "psnr": _number(mean.psnr) if mean else None,
        "ssim": mean.ssim if mean else None,
        **(mean.others if mean else {}),
        "images": {
            name: {"psnr": _number(score.psnr), "ssim": score.ssim, **score.others} for name, score in by_image.items()
        },
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None  # JSON has no infinity, the PSNR of equal images.
