"""`dasr-fast export`."""

import io
from pathlib import Path
from typing import Any, Literal

import click

from dasr_fast.cli.common import NAME, PATH, check_target, load_model, option, overwrite_option, warn
from dasr_fast.files import WriteError, written_whole

SUFFIXES = (".onnx", ".pt2")
"""Endings of the files that are written."""


def _size(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """Height and width."""
    if value is None:
        return None
    width, cross, height = value.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise click.BadParameter(f"{value} is no width and height such as 320x180.")
    return int(height), int(width)


@click.command()
@click.argument("weights", required=False, type=NAME)
@option(
    "-o",
    "--output",
    type=PATH,
    required=True,
    help="File that ends in .onnx, or in .pt2 for a program of torch.export.",
)
@option("--scale", type=click.IntRange(2, 4), help="2, 3 or 4; that of WEIGHTS if left out, else 4.")
@option(
    "--part",
    type=click.Choice(["whole", "encode", "restore"]),
    default="whole",
    help="encode gives the embedding v of images, restore takes images and v; for tiles with one v.",
)
@option("--unit-range", is_flag=True, help="Images are in 0 to 1 instead of 0 to 255.")
@option("--fp16", is_flag=True, help="Weights and images are float16. Results differ slightly.")
@option("--size", metavar="WxH", callback=_size, help="LR width and height for which the file is, with a batch of 1.")
@overwrite_option
def export(
    weights: str | None,
    output: Path,
    scale: int | None,
    part: Literal["whole", "encode", "restore"],
    unit_range: bool,
    fp16: bool,
    size: Any,
    overwrite: bool,
) -> int:
    """Write a network for other runtimes, as ONNX or torch.export.

    WEIGHTS is a name or path; those of the scale if left out. The file holds standard operators alone and takes any
    batch, height and width, unless told otherwise: images "lr", float32 [batch, 3, height, width], RGB in 0 to 255, to
    "sr", neither rounded nor clamped. Before it gets its name, its results are compared with the model's. All takes
    about a minute. Exit code: 0 if it was written, 1 if they differ or the disk is full, 2 if nothing was tried.

    \b
    dasr-fast export model_600.pt -o model.onnx
    dasr-fast export model_600.pt -o restore.onnx --part restore
    dasr-fast export x2 -o video.onnx --unit-range --fp16 --size 640x360
    """
    if output.suffix not in SUFFIXES:
        raise click.UsageError(f"{output}: networks are written as {' or '.join(SUFFIXES)}.")
    check_target(output, overwrite)
    from dasr_fast.export.program import Form, require_onnx

    if output.suffix == ".onnx":
        try:
            require_onnx()
        except ImportError as error:
            raise click.UsageError(str(error)) from None
    model, form = load_model(weights, scale, "cpu"), Form(unit_range, fp16, size)
    try:
        with written_whole(output) as temporary:
            _write(model, temporary, part, form)
            verdict = _compare(model, temporary, part, form)
    except WriteError as error:
        warn(str(error))
        return 1
    except (RuntimeError, OSError) as error:
        warn(f"{output} was not written: {error}")
        return 1
    click.echo(f"Exported to {output}, {verdict}")
    return 0


def _write(model: Any, path: Path, part: Literal["whole", "encode", "restore"], form: Any) -> None:
    import torch

    from dasr_fast.export.program import export_onnx, export_program

    if path.suffix == ".onnx":
        export_onnx(model, path, part, form)
    else:
        program = io.BytesIO()  # The writer for files aborts the process where the disk is full.
        torch.export.save(export_program(model, part, form), program)
        path.write_bytes(program.getbuffer())


def _compare(model: Any, path: Path, part: Literal["whole", "encode", "restore"], form: Any) -> str:
    from dasr_fast.export.program import verify

    try:
        difference = verify(path, model, part, form)
    except ImportError:
        return "not compared with the model: that needs onnxruntime (pip install 'dasr-fast[export]')."
    unit = "" if part == "encode" else " grey levels"
    return f"which differs from the model by at most {difference:.1e}{unit}."
