"""`dasr-fast upscale`."""

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from dasr_fast.cli import common
from dasr_fast.cli.common import NAME, PATH, Number, Report, option
from dasr_fast.files import FRAME_SUFFIXES
from dasr_fast.progress import Progress

VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")
"""Endings of the files that are taken for videos."""

LACKING = 0.25
"""Seconds that a video may end early before the user is told."""


def _tile(_: click.Context, __: click.Parameter, value: str) -> Any:
    from dasr_fast.inference.tiling import SMALLEST

    if value == "auto":
        return value
    if not value.isdecimal() or 0 < int(value) < SMALLEST:
        raise click.BadParameter(f"{value} is neither auto, nor 0, nor a whole number from {SMALLEST}.")
    return int(value)


@click.command()
@click.argument("sources", metavar="SOURCE...", type=PATH, nargs=-1, required=True)
@option("-o", "--output", type=PATH, help="File or folder; beside SOURCE if left out.")
@option("--scale", type=click.IntRange(2, 4), help="2, 3 or 4; that of --weights if left out, else 4.")
@option(
    "--weights",
    type=NAME,
    help="Name of weights that come with the package (dasr-fast weights lists them), or path of a checkpoint or run. "
    "By default x4-photo or x2-photo, for photographs; x3 at scale 3.",
)
@option(
    "--format",
    "suffix",
    type=click.Choice(["png", "jpg", "webp", "tif", "gif"]),
    help="Format of the results; that of each image if left out.",
)
@option(
    "--quality",
    type=click.IntRange(1, 100),
    help="Quality of JPEG and WebP; 95 if left out. Lossless WebP stays lossless.",
)
@option(
    "--factor",
    type=Number(min=1),
    help="How many times as wide and high results become. The next whole scale is computed, and reduced.",
)
@option("--width", type=click.IntRange(1), help="Width of the results in pixels, in place of --factor.")
@option("--height", type=click.IntRange(1), help="Height of the results in pixels, in place of --factor.")
@option(
    "--precision",
    type=click.Choice(["auto", "fp32", "tf32", "fp16", "bf16"]),
    default="auto",
    help="Precision of the computation: auto is fp16 on a GPU, bf16 on a CPU with a matrix unit (AMX), else fp32; tf32 "
    "needs a GPU.",
)
@option(
    "--tile",
    metavar="PIXELS",
    callback=_tile,
    default="auto",
    help="Side in LR pixels of the tiles in which images are computed: from 64, 0 for whole images, or auto, which "
    "divides images that are too large for the free memory.",
)
@option(
    "--compare",
    is_flag=True,
    help="Also write NAME_compare.png beside each result: the input (its pixels enlarged), bicubic upsampling and the "
    "result side by side; of large images the centre, 1024 pixels of the result wide and high at most.",
)
@option(
    "--representation",
    type=click.Choice(["each", "first", "shot"]),
    default="shot",
    help="At which frames of a video or animation, or pages, the degradation is found out: each, the first, or the "
    "first after every cut.",
)
@common.device_option
@common.overwrite_option
def upscale(
    sources: tuple[Path, ...],
    output: Path | None,
    scale: int | None,
    weights: str | None,
    suffix: str | None,
    quality: int | None,
    factor: float | None,
    width: int | None,
    height: int | None,
    precision: str,
    tile: Any,
    compare: bool,
    representation: Any,
    device: str,
    overwrite: bool,
) -> int:
    """Super-resolve images, folders of images, and videos.

    Each SOURCE is an image, a folder of images, whose subfolders are kept, or a video.

    PNG, JPEG, WebP and TIFF, 8 or 16 bits, grey or RGB, are read and written; palettes and CMYK become RGB, and JPEG
    and WebP are written with 8 bits. Images are turned upright. Transparency, colour profile, resolution, EXIF and XMP
    are kept, IPTC data in JPEG and TIFF, text in PNG, and comments in JPEG. A warning names what is left out.

    Animated GIF, WebP and PNG keep all frames, their times, and how often they play, also in another of these formats.
    GIF has only 256 colours a frame. TIFF keeps its pages.

    The processes that torchrun starts share the images.

    A video (MP4, MOV, MKV, WebM, AVI; extra video) keeps its sound and all other streams, metadata, rotation, colours,
    and the time of each frame.

    Images that can't be read are reported and skipped, and so are those of a folder whose results exist already. Images
    that the weights don't know, such as noisy ones, are done with a warning. Exit code: 0 if all was done, 1 if an
    image failed, 2 if nothing was tried.

    \b
    dasr-fast upscale photo.png -o large.png --scale 4
    dasr-fast upscale photos/ -o large/ --weights model_600.pt --compare
    dasr-fast upscale *.jpg -o posters/ --width 3000 --format webp --quality 80
    torchrun --nproc-per-node 4 -m dasr_fast upscale photos/ -o large/
    """
    from dasr_fast.device import find_device
    from dasr_fast.inference.engine import Engine
    from dasr_fast.models.checkpoint import FOR_PICTURES
    from dasr_fast.processes import joined

    if factor is not None and (width is not None or height is not None):
        raise click.UsageError("--factor and --width or --height both tell the size; leave one out.")
    if factor is not None and factor > 4:
        raise click.UsageError(f"--factor is {factor:g}; images become at most 4 times as large.")
    if any(source.suffix.lower() in VIDEOS and not source.is_dir() for source in sources):
        unused = (suffix, quality, factor, width, height, compare or None)
        _check_video(alone=len(sources) == 1 and all(value is None for value in unused))
        engine = Engine(common.load_model(weights or FOR_PICTURES[scale or 4], scale, device), precision)
        return _upscale_video(engine, sources[0], output, representation, tile, overwrite)
    if scale is None and weights is None and factor is not None:
        scale = max(2, math.ceil(factor))
    report = Report()
    with joined(find_device(device)) as processes:
        images = {source: common.images_of_tree(source, output, report) for source in sources}
        model = common.load_model(weights or FOR_PICTURES[scale or 4], scale, processes.device.type)
        engine = Engine(model, precision)
        if factor is not None and factor > engine.scale:
            raise click.UsageError(f"--factor is {factor:g}, and the weights are for scale {engine.scale}.")
        if output is not None and len(sources) > 1 and output.suffix and not output.is_dir():
            raise click.UsageError(f"The images of {len(sources)} sources can't all go into {output}; name a folder.")
        results = _results(images, output, f"_x{engine.scale}", f".{suffix}" if suffix else None, compare)
        share = dict(list(results.items())[processes.rank :: processes.world])
        several = len(sources) > 1 or sources[0].is_dir()
        to_do = report.unfinished(share, overwrite) if several else share
        folders = list(dict.fromkeys(files[0].parent for files in results.values()))
        with common.results_in(*folders):
            processes.any(False)  # No result before all have seen which images there are.
            steps = Progress(to_do.items(), "Upscaling", len(to_do))
            for image, files in steps if processes.rank == 0 else to_do.items():
                with report.guard(image), _named_in_warnings(image):
                    for file in files:
                        common.refuse_overwriting(file, overwrite)
                    size = partial(_size, scale=engine.scale, factor=factor, width=width, height=height)
                    _upscale_image(engine, image, files, size, quality, representation, tile, steps.part)
            failed = processes.any(bool(report.failed))  # torchrun stops the others when one ends with an error.
        target = _common(folders) if len(results) > 1 else next(iter(results.values()))[0]
        if processes.rank > 0:
            report.others.clear()
        part = "" if processes.world == 1 else f" (process {processes.rank + 1} of {processes.world})"
        report.finish(f"Upscaled to {target} in {engine.precision}{part}")
        return int(failed)


def _results(
    images: dict[Path, list[Path]], output: Path | None, mark: str, suffix: str | None, compare: bool
) -> dict[Path, list[Path]]:
    """Files that each image's result goes to, the comparison second, for the images of each source."""
    targets: dict[Path, Path] = {}
    for source, found in images.items():
        targets |= common.output_paths(source, found, output, mark, suffix, FRAME_SUFFIXES)
    results = {
        image: [target, target.with_name(f"{target.stem}_compare.png")] if compare else [target]
        for image, target in targets.items()
    }
    common.refuse_same_names(file for files in results.values() for file in files)
    return results


def _upscale_image(
    engine: Any,
    image: Path,
    files: list[Path],
    size: Callable[..., Any],
    quality: int | None,
    representation: Any,
    tile: Any,
    progress: Callable[[float], None],
) -> None:
    """Write an image's result to the first of the files, and to a second one the comparison."""
    from dasr_fast.images import check_format, read_frames, resized, write_frames, write_image
    from dasr_fast.inference.pictures import comparison, upscale_frames
    from dasr_fast.inference.pictures import upscale as upscale_picture

    lr = read_frames(image)
    check_format(files[0], lr)
    first, count = lr.pictures[0], len(lr.pictures)
    wanted = size(first.pixels.shape[1], first.pixels.shape[0])
    _check_memory(image, count, engine.scale * first.pixels.shape[1], engine.scale * first.pixels.shape[0])
    if count == 1:
        results = iter([upscale_picture(engine, first, tile=tile, progress=progress)])
    else:
        results = upscale_frames(engine, lr.pictures, representation, tile=tile)
    made, shown = [], None
    for sr in results:
        if shown is None and len(files) > 1:
            shown = comparison(first, sr)
        made.append(sr if wanted is None else resized(sr, *wanted))
        progress(len(made) / count)
    write_frames(files[0], replace(lr, pictures=tuple(made)), quality=quality)
    if shown is not None:
        profile = {name: value for name, value in shown.metadata.items() if name == "icc-profile-data"}
        write_image(files[1], replace(shown, metadata=profile))


def _check_memory(image: Path, count: int, width: int, height: int) -> None:
    """Raises MemoryError if several results don't fit into the free memory, where they are held and then encoded."""
    from dasr_fast.memory import available_memory

    needed, free = 3 * 4 * count * width * height, available_memory()
    if count > 1 and free is not None and needed > free:
        raise MemoryError(
            f"{image} has {count} frames or pages, whose results of {width}x{height} pixels need {needed / 1e9:.1f} GB "
            f"of memory; {free / 1e9:.1f} GB are free."
        )


def _check_video(*, alone: bool) -> None:
    """Raises click.UsageError where a video can't be upscaled; `alone` is one without other sources and options."""
    from dasr_fast.processes import world_size

    if not alone:
        raise click.UsageError(
            "A video is upscaled by itself, without --format, --quality, --factor, --width, --height and --compare."
        )
    if world_size() > 1:
        raise click.UsageError("A video is upscaled by one process.")
    try:
        from dasr_fast.integrations.video import require_pyav

        require_pyav()
    except ImportError as error:
        raise click.UsageError(str(error)) from None


def _upscale_video(
    engine: Any, source: Path, output: Path | None, representation: Any, tile: Any, overwrite: bool
) -> int:
    from dasr_fast.integrations.video import Video, VideoError

    output = output or source.with_name(f"{source.stem}_x{engine.scale}{source.suffix}")
    target = output / source.name if output.is_dir() else output
    if target.suffix.lower() not in VIDEOS:
        raise click.UsageError(f"{target}: videos are written as {', '.join(VIDEOS)}.")
    if not source.is_file():
        raise click.UsageError(f"There is no file or folder {source}.")
    with common.results_in(target.parent):
        common.check_target(target, overwrite)
        try:
            video = Video(source, target, engine, representation=representation, tile=tile)
            with _named_in_warnings(source):
                for _ in Progress(video.upscaled(), "Upscaling frames", video.frames):
                    pass
        except (VideoError, OSError, RuntimeError) as error:
            why = common.reason(error)
            common.warn(why if str(source) in why else f"{source}: {why}")
            return 1
    for what in video.left_out:
        common.warn(f"{target.name} can't hold {what} of {source.name}, which was left out.")
    if video.lacking > LACKING:
        common.warn(f"{source} ends {video.lacking:.1f} seconds early: it seems to be cut off.")
    click.echo(common.printable(f"Upscaled to {target} in {engine.precision}"))
    return 0


def _size(
    w: int, h: int, scale: int, factor: float | None, width: int | None, height: int | None
) -> tuple[int, int] | None:
    """Width and height asked for of the result of an image of w x h; None for those of the scale."""
    if factor is not None:
        width, height = max(1, round(w * factor)), max(1, round(h * factor))
    elif width is None and height is None:
        return None
    width = width or max(1, round(w * (height or h) / h))
    height = height or max(1, round(h * width / w))
    if width > scale * w or height > scale * h:
        raise ValueError(f"it has {w}x{h} pixels, and {width}x{height} are more than {scale} times as many a side.")
    return width, height


def _common(folders: list[Path]) -> Path:
    """The folder that holds them all."""
    return folders[0] if len(folders) == 1 else Path(os.path.commonpath([folder.absolute() for folder in folders]))


@contextmanager
def _named_in_warnings(image: Path) -> Iterator[None]:
    """Print every warning that is about the image, with its name; others go where they went before."""
    from dasr_fast.inference.pictures import PictureWarning

    outer, told = warnings.showwarning, set()

    def show(message: Any, *others: Any, **keywords: Any) -> None:
        if isinstance(message, PictureWarning):
            if str(message) not in told:  # Of many frames once.
                common.warn(f"{image}: {message}")
            told.add(str(message))
        else:
            outer(message, *others, **keywords)

    with warnings.catch_warnings():
        warnings.simplefilter("always", PictureWarning)
        warnings.showwarning = show
        yield
