"""`dasr-fast upscale`."""

from pathlib import Path

import click

from dasr_fast.cli.common import (
    Report,
    device_option,
    input_images,
    load_model,
    make_folder,
    output_paths,
    overwrite_option,
    progress,
    refuse_overwriting,
)


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
@device_option
@overwrite_option
def upscale(
    source: Path,
    output: Path | None,
    scale: int | None,
    weights: str | None,
    suffix: str | None,
    device: str,
    overwrite: bool,
) -> int:
    """Super-resolve SOURCE, an image or a folder of images.

    PNG, JPEG, WebP and TIFF, 8 or 16 bits, grey or RGB; transparency, orientation, colour profile and EXIF are kept.
    Images that can't be read are reported and skipped. Exit code: 0 if all was done, 1 if an image failed, 2 if
    nothing was tried.

    \b
    dasr-fast upscale photo.png -o large.png --scale 4
    dasr-fast upscale photos/ -o large/ --weights model_600.pt
    """
    from dasr_fast.images import read_image, write_image
    from dasr_fast.inference import upscale as upscale_picture

    images = input_images(source)
    model = load_model(weights, scale, device)
    targets = output_paths(source, images, output, f"_x{model.scale}", f".{suffix}" if suffix else None)
    report = Report()
    for image, target in progress(targets.items(), "Upscaling", len(targets)):
        make_folder(target.parent)
        with report.guard(image):
            refuse_overwriting(target, overwrite)
            write_image(target, upscale_picture(model, read_image(image)))
    return report.finish(f"Upscaled to {next(iter(targets.values())).parent}")
