"""`dasr-fast upscale`."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from dasr_fast.cli.common import (
    Report,
    device_option,
    input_images,
    load_model,
    make_folder,
    output_paths,
    overwrite_option,
    refuse_overwriting,
    warn,
)
from dasr_fast.progress import progress


def _tile(_: click.Context, __: click.Parameter, value: str) -> Any:
    from dasr_fast.inference.tiling import SMALLEST

    if value == "auto":
        return value
    if not value.isdecimal() or 0 < int(value) < SMALLEST:
        raise click.BadParameter(f"{value} is neither auto, nor 0, nor a whole number from {SMALLEST}.")
    return int(value)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File or folder; beside SOURCE if left out.")
@click.option("--scale", type=click.IntRange(2, 4), help="2, 3 or 4; that of --weights if left out, else 4.")
@click.option("--weights", help="Name of weights that come with the package, or path of a checkpoint.")
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["png", "jpg", "webp", "tif"]),
    help="Format of the results; that of each image if left out.",
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "tf32", "fp16", "bf16"]),
    default="auto",
    show_default=True,
    help="Of the computation: auto is fp16 on a GPU and fp32 on a CPU; tf32 needs a GPU.",
)
@click.option(
    "--tile",
    metavar="PIXELS",
    callback=_tile,
    default="auto",
    show_default=True,
    help="Side in LR pixels of the tiles in which images are computed: from 64, 0 for whole images, or auto, which "
    "divides images that are too large for the free memory.",
)
@click.option(
    "--compare",
    is_flag=True,
    help="Also write NAME_compare.png beside each result: the input (its pixels enlarged), bicubic upsampling and the "
    "result side by side; of large images the centre, 1024 pixels of the result wide and high at most.",
)
@device_option
@overwrite_option
def upscale(
    source: Path,
    output: Path | None,
    scale: int | None,
    weights: str | None,
    suffix: str | None,
    precision: str,
    tile: Any,
    compare: bool,
    device: str,
    overwrite: bool,
) -> int:
    """Super-resolve SOURCE, an image or a folder of images.

    PNG, JPEG, WebP and TIFF, 8 or 16 bits, grey or RGB; transparency, orientation, colour profile and EXIF are kept.
    Images that can't be read are reported and skipped; those that the weights don't know, such as noisy ones, are done
    with a warning. Exit code: 0 if all was done, 1 if an image failed, 2 if
    nothing was tried.

    \b
    dasr-fast upscale photo.png -o large.png --scale 4
    dasr-fast upscale photos/ -o large/ --weights model_600.pt --compare
    """
    from dasr_fast.images import check_format, read_image, write_image
    from dasr_fast.inference.engine import Engine
    from dasr_fast.inference.upscale import comparison
    from dasr_fast.inference.upscale import upscale as upscale_picture

    images = input_images(source)
    engine = Engine(load_model(weights, scale, device), precision)
    targets = output_paths(source, images, output, f"_x{engine.scale}", f".{suffix}" if suffix else None)
    comparisons = _comparison_paths(list(targets.values())) if compare else {}
    report = Report()
    with _warnings_as_lines():
        for image, target in progress(targets.items(), "Upscaling", len(targets)):
            make_folder(target.parent)
            with report.guard(image), _named_in_warnings(image):
                refuse_overwriting(target, overwrite)
                if compare:
                    refuse_overwriting(comparisons[target], overwrite)
                lr = read_image(image)
                check_format(target, lr)
                sr = upscale_picture(engine, lr, tile=tile)
                write_image(target, sr)
                if compare:
                    write_image(comparisons[target], comparison(lr, sr))
    return report.finish(f"Upscaled to {next(iter(targets.values())).parent}")


def _comparison_paths(targets: list[Path]) -> dict[Path, Path]:
    """Where the comparison goes for each result.

    Raises:
        click.UsageError: Two of all these files would have one name.
    """
    paths = {target: target.with_name(f"{target.stem}_compare.png") for target in targets}
    names = [*targets, *paths.values()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.UsageError(f"With --compare two images would both be written to {twice}.")
    return paths


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Print what the engine warns of as this program's other messages are printed, once each."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", RuntimeWarning)
        warnings.showwarning = lambda message, *_, **__: warn(str(message))
        yield


@contextmanager
def _named_in_warnings(image: Path) -> Iterator[None]:
    """Print every warning that is about the image, with its name; others go where they went before."""
    from dasr_fast.inference.upscale import PictureWarning

    outer = warnings.showwarning

    def show(message: Any, *others: Any, **keywords: Any) -> None:
        if isinstance(message, PictureWarning):
            warn(f"{image}: {message}")
        else:
            outer(message, *others, **keywords)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PictureWarning)
        warnings.showwarning = show
        yield
