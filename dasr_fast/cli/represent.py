"""`dasr-fast represent`."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dasr_fast.cli import common
from dasr_fast.cli.common import NAME, PATH, Number, Report, option
from dasr_fast.files import write_json
from dasr_fast.progress import Progress

UNTRAINED = "untrained"


@click.command()
@click.argument("folder", type=PATH)
@option("--weights", type=NAME, help="Name or path of DASR weights; those of the scale if left out.")
@option("--compare", type=NAME, help='Weights for a second plot beside the first, or "untrained" for random ones.')
@option("-o", "--output", type=PATH, required=True, help="File for the plot that ends in .png, .svg or .pdf.")
@option("--scale", type=click.IntRange(2, 4), help="2, 3 or 4; that of --weights if left out, else 4.")
@option(
    "--sigma",
    "widths",
    type=Number(min=0),
    multiple=True,
    help="Width of an isotropic blur in pixels; give it several times. Eight from 0.2 to 4 if left out.",
)
@option("--anisotropic", is_flag=True, help="The nine anisotropic kernels of the paper's Table 3 instead.")
@option(
    "--noise",
    "noise_levels",
    type=Number(min=0),
    multiple=True,
    default=(0.0,),
    help="Noise in grey levels; each of several goes with each kernel.",
)
@option("--images", type=click.IntRange(min=2), default=40, help="At most so many, evenly spread.")
@option("--patches", type=click.IntRange(1, 10_000), default=4, help="Patches of each image.")
@option("--size", type=click.IntRange(8, 10_000), default=48, help="Side of LR patches in pixels.")
@option("--neighbours", type=click.IntRange(min=1), default=15, help="How many of the nearest vote.")
@option("--json", "json_path", type=PATH, help="Write all figures to this file.")
@common.seed_option
@common.device_option
@common.overwrite_option
def represent(
    folder: Path,
    weights: str | None,
    compare: str | None,
    output: Path,
    scale: int | None,
    widths: tuple[float, ...],
    anisotropic: bool,
    noise_levels: tuple[float, ...],
    images: int,
    patches: int,
    size: int,
    neighbours: int,
    json_path: Path | None,
    seed: int,
    device: str,
    overwrite: bool,
) -> int:
    """Plot how well representations tell degradations apart.

    Patches of every HR image in FOLDER are degraded, encoded and shown in two dimensions (t-SNE), as in the paper's
    Figure 4. The table says of how many patches the nearest neighbours in other images have the same degradation. Exit
    code: 0 if all was done, 1 if an image failed, 2 if nothing was tried.

    \b
    dasr-fast represent photos/ --weights model_600.pt -o plot.png
    dasr-fast represent photos/ --weights model_600.pt --compare untrained -o plot.png --json figures.json
    dasr-fast represent photos/ --weights model_600.pt --sigma 1 --sigma 3 --noise 0 --noise 10 -o plot.png
    """
    from dasr_fast.evaluation.representation import (
        WIDTHS,
        degraded_patches,
        in_two_dimensions,
        isotropic_settings,
        require_plotting,
        separability,
    )
    from dasr_fast.evaluation.representation import represent as encoded
    from dasr_fast.evaluation.representation_plot import PICTURES, Panel, plot
    from dasr_fast.evaluation.setting import anisotropic_settings
    from dasr_fast.images import read_image

    if output.suffix.lower() not in PICTURES:
        raise click.UsageError(f"{output}: plots are written as {', '.join(PICTURES)}.")
    for target in (output, *(() if json_path is None else (json_path,))):
        common.check_target(target, overwrite)
    if json_path is not None and json_path.resolve() == output.resolve():
        raise click.UsageError(f"The plot and --json would both be written to {output}.")
    if anisotropic and widths:
        raise click.UsageError("--anisotropic has its own kernels; leave out --sigma.")
    settings = anisotropic_settings(noise_levels) if anisotropic else isotropic_settings(widths or WIDTHS, noise_levels)
    if len(set(settings)) < max(2, len(settings)):
        raise click.UsageError("Two different degradations are needed at least, each once; give --sigma another value.")
    try:
        require_plotting("sklearn", "matplotlib")
    except ImportError as error:
        raise click.UsageError(str(error)) from None
    paths = _evenly(common.input_images(folder), images)
    scale, encoders = _encoders(weights, compare, scale, device, seed)

    report, degraded = Report(), []
    for path in Progress(paths, "Degrading", len(paths)):
        with report.guard(path):
            hr = read_image(path).rgb()[0]
            degraded.append(degraded_patches(hr, path.name, settings, scale, patches=patches, size=size, seed=seed))
    if len(degraded) < 2:
        raise click.UsageError(
            f"Two images are needed at least, to compare patches of different ones; {folder} has fewer."
        )
    panels = []
    for title, encode in encoders.items():
        representations = encoded(encode, list(Progress(degraded, f"Encoding by {title}", len(degraded))))
        found = separability(representations, neighbours)
        panels.append(Panel(title, representations, in_two_dimensions(representations, seed=seed), found))
    _print_table(panels, settings)
    with report.guard(output, counted=False):
        plot(panels, settings, output)
    if json_path is not None:
        facts = {"scale": scale, "patches": patches, "size": size, "neighbours": neighbours, "seed": seed}
        images_of = {"images": [image.name for image in report.done], "failed": report.reasons()}
        figures = {panel.title: _figures(panel.separability, settings) for panel in panels}
        with report.guard(json_path, counted=False):
            write_json(json_path, {"source": folder.resolve().name, **facts, **images_of, "encoders": figures})
    return report.finish(f"Represented {folder} in {output}")


def _evenly(paths: list[Path], count: int) -> list[Path]:
    """At most `count` of the paths, evenly spread."""
    count = min(count, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def _encoders(
    weights: str | None, compare: str | None, scale: int | None, device: str, seed: int
) -> tuple[int, dict[str, Callable[[Any], Any]]]:
    """The scale, and encoders by name."""
    import torch

    from dasr_fast.device import find_device
    from dasr_fast.models import DegradationEncoder

    place = find_device(device)

    def untrained() -> Any:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return DegradationEncoder().eval().to(place)

    def embedder(encoder: Any) -> Callable[[Any], Any]:
        return lambda lr: encoder.embed(lr.to(place))

    encoders: dict[str, Callable[[Any], Any]] = {}
    for name in [weights] if compare is None else [weights, compare]:
        if name == UNTRAINED:
            encoder = untrained()
        else:
            model = common.load_model(name, scale, device)
            encoder, scale = model.E.encoder_q, model.scale
        encoders[name or f"x{scale}"] = embedder(encoder)
    if compare is not None and len(encoders) < 2:
        raise click.UsageError(f"--compare must name other weights than --weights; got {compare} twice.")
    return scale or 4, encoders


def _print_table(panels: list[Any], settings: list[Any]) -> None:
    found = [panel.separability for panel in panels]
    rows = [
        (setting.kernel, f"{setting.noise:g}", *(f"{each.by_degradation[number]:.1%}" for each in found))
        for number, setting in enumerate(settings)
    ]
    last = [
        ("all", "", *(f"{each.accuracy:.1%}" for each in found)),
        ("by chance", "", *(f"{each.chance:.1%}" for each in found)),
    ]
    columns = ("kernel", "noise", *(panel.title for panel in panels))
    common.print_table("Nearest neighbours of the same degradation", columns, rows, last)


def _figures(found: Any, settings: list[Any]) -> dict[str, Any]:
    """What --json says of an encoder."""
    shares = zip(settings, found.by_degradation, strict=True)
    degradations = [{**asdict(setting), "accuracy": accuracy} for setting, accuracy in shares]
    return {"accuracy": found.accuracy, "chance": found.chance, "degradations": degradations}
