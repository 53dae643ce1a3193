"""Compare dasr-fast with the released code's operations on this machine: a table, JSON and a plot."""

import sys
from pathlib import Path

import click
import torch
from rich.progress import track

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from benchmarks import degradation, network, ops, picture, report  # noqa: E402
from benchmarks.timing import compare  # noqa: E402
from dasr_fast.cli.common import find_device  # noqa: E402
from dasr_fast.degradation import bicubic_downsample  # noqa: E402
from dasr_fast.images import ImageError, read_image  # noqa: E402

SUITES = ("ops", "degradation", "network")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Smaller sizes and fewer rounds: a minute on two cores.")
@click.option("--suite", "suites", multiple=True, type=click.Choice(SUITES), help="Only these; may be repeated.")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    default=HERE / "photo.jpg",
    show_default="the photograph beside this file",
    help="Photograph to work on.",
)
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("benchmark-results"),
    show_default=True,
    help="Folder for results.json, speedup.png and picture.png; those of an earlier run are replaced.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice if left out.")
def main(quick: bool, suites: tuple[str, ...], image: Path, output: Path, device: str, threads: int | None) -> None:
    """Time the ops, the degradation and the network against the released code's operations, written anew.

    Results that aren't random are compared with float64 first; one that disagrees is shown as wrong and not timed.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    device = find_device(device).type
    try:
        photo = read_image(image).rgb().contiguous()
    except (ImageError, FileNotFoundError) as error:
        raise click.UsageError(str(error)) from None
    if min(photo.shape[-2:]) < 44:
        raise click.UsageError(f"{image} is too small; at least 44 pixels high and wide are needed.")
    output.mkdir(parents=True, exist_ok=True)
    lr = bicubic_downsample(photo, 4).round().clamp(0, 255)
    if not quick:
        lr = torch.nn.functional.interpolate(lr, (180, 320))
    with torch.no_grad():
        works = [
            *(ops.works(device, quick) if "ops" in (suites or SUITES) else ()),
            *(degradation.works(photo, device, quick) if "degradation" in (suites or SUITES) else ()),
            *(network.works(lr, device) if "network" in (suites or SUITES) else ()),
        ]
        results = [
            compare(work, rounds=4 if quick else 16) for work in track(works, "Timing", disable=not sys.stdout.isatty())
        ]
    facts = report.machine(device)
    report.print_table(results, facts)
    report.write_json(results, facts, output / "results.json")
    report.plot(results, facts, output / "speedup.png")
    click.echo(f"Written: {output / 'results.json'}, {output / 'speedup.png'}")
    try:
        click.echo(f"Written: {picture.write_picture(image, 'x4', output / 'picture.png')}")
    except FileNotFoundError:
        click.echo("No weights come with this version, so no upscaled picture is shown.")


if __name__ == "__main__":
    main()
