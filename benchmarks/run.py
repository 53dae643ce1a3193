"""Compare dasr-fast with the released code and with what else people use, on this machine."""

import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import suites
from benchmarks.harness import machine, picture, plots, tables
from benchmarks.harness.machine import title
from benchmarks.harness.results import RESULTS, Run, write
from benchmarks.harness.turns import Effort, compare
from benchmarks.harness.work import PHOTO, Settings
from dasr_fast.device import find_device
from dasr_fast.images import ImageError, read_image
from tests.released.baseline import NoCheckoutError, find_baseline

QUICK = Effort(seconds=1.0, least=3, most=5, round_seconds=0.05)

SIDE = 44
"""Pixels that a photograph must have at least."""


class Size(click.ParamType[tuple[int, int]]):
    """Width and height, such as 320x180."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        parts = str(value).split("x")
        if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
            self.fail(f"{value} is no width and height such as 320x180.", param, ctx)
        return int(parts[0]), int(parts[1])


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--quick", is_flag=True, help="A few works in a minute and a half, and a picture.")
@click.option("--everything", is_flag=True, help="All sizes and contenders: hours on a CPU.")
@click.option("--suite", "names", multiple=True, type=click.Choice(list(suites.SUITES)), help="Only these; repeatable.")
@click.option("--size", "sizes", multiple=True, type=Size(), help="Only these LR sizes of the network; repeatable.")
@click.option("--scale", "scales", multiple=True, type=click.IntRange(2, 4), help="Only these scales; repeatable.")
@click.option(
    "--batch", "batches", multiple=True, type=click.IntRange(1), help="Only these batches of network and training."
)
@click.option("--without", multiple=True, help="Leave out contenders with this in their names; repeatable.")
@click.option(
    "--reference",
    type=click.Path(path_type=Path),
    help="A checkout of the released code to compare with; its operations written anew if left out.",
)
@click.option("--image", type=click.Path(path_type=Path), default=PHOTO, show_default="photo.jpg", help="A photograph.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("benchmark-results"),
    show_default=True,
    help="Folder for results.json, table.md, plots and picture; those of an earlier run are replaced.",
)
@click.option(
    "--confirm", is_flag=True, help="Ask each figure again of a fresh process, alone; exit with 1 if one differs."
)
@click.option("--profile", is_flag=True, help="Write a profile of each contender's call to OUTPUT/profiles.")
@click.option("--save", is_flag=True, help="Keep the results in benchmarks/results/<machine>.json and .md too.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice if left out.")
def main(
    quick: bool,
    everything: bool,
    names: tuple[str, ...],
    sizes: tuple[tuple[int, int], ...],
    scales: tuple[int, ...],
    batches: tuple[int, ...],
    without: tuple[str, ...],
    reference: Path | None,
    image: Path,
    output: Path,
    confirm: bool,
    profile: bool,
    save: bool,
    device: str,
    threads: int | None,
) -> None:
    """Compare dasr-fast with the released code, with what PyTorch can make of it, and with what else people use.

    Results are compared with float64 before they are timed; each contender has a process of its own, and they take
    turns. What a device would take too long for is left out, which the table says.
    """
    start = time.monotonic()
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        kind = find_device(device).type
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with TemporaryDirectory() as folder:
        settings = Settings(kind, quick, everything, reference, image, sizes, scales, batches, without, Path(folder))
        description = _checked(settings)
        profiles = output / "profiles" if profile else None
        (profiles or output).mkdir(parents=True, exist_ok=True)
        _picture(image, output)
        chosen = names or (suites.QUICK if quick else tuple(suites.SUITES))
        omitted = list(suites.left_out(settings))
        run = Run(machine.facts(kind), description, machine.ceilings(kind, quick), omitted, [])
        for work in suites.works(chosen, settings):
            click.echo(f"{time.monotonic() - start:5.0f} s  {work.suite}: {work.label}", err=True)
            find = partial(suites.find, settings, work.suite, work.label)
            run.results += compare(find, settings, QUICK if quick else Effort(), again=confirm, profiles=profiles)
            run.seconds = round(time.monotonic() - start, 1)
            write(run, output / "results.json")  # A run that is interrupted keeps what it has.
    _show(run, output, save, brief=quick)
    if any(result.confirmed is False for result in run.results):
        sys.exit(1)


def _checked(settings: Settings) -> str:
    """Description of the baseline.

    Raises:
        click.UsageError: There is no such checkout or photograph.
    """
    try:
        if picture.unreadable() is None:
            _check_photograph(settings.image)
        return find_baseline(settings.reference, settings.device).description
    except (ImageError, FileNotFoundError, NoCheckoutError) as error:
        raise click.UsageError(str(error)) from None


def _check_photograph(path: Path) -> None:
    photo = read_image(path).rgb()
    if min(photo.shape[-2:]) < SIDE:
        raise ImageError(f"{path} is too small; at least {SIDE} pixels high and wide are needed.")


def _picture(photo: Path, output: Path) -> None:
    obstacle = picture.unreadable()
    if obstacle is None:
        click.echo(picture.write_picture(photo, "x4", output / "picture.png"))
    else:
        click.echo(f"No picture: {obstacle}.")


def _show(run: Run, output: Path, save: bool, *, brief: bool) -> None:
    """Print tables, and write them beside the results."""
    (output / "table.md").write_text(tables.markdown(run))
    drawn = plots.draw(run, output)
    if brief:
        tables.show(f"{title(run.machine)}, against {run.baseline}:\n\n{tables.summary(run, brief=True)}")
        lines = tables.confirmation(run.results)
        click.echo("\n".join([*lines, f"All contenders, errors and what was left out: {output / 'table.md'}"]))
        click.echo(f"Every sample: {output / 'results.json'}\nMore: python benchmarks/run.py --help")
    else:
        tables.show(tables.markdown(run))
        click.echo(f"Written: {', '.join(map(str, (output / 'results.json', output / 'table.md', *drawn)))}")
    if save:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{machine.file_name(run.machine)}.json"
        write(run, path)
        path.with_suffix(".md").write_text(tables.markdown(run))
        click.echo(f"Written: {path}, {path.with_suffix('.md')}")


if __name__ == "__main__":
    main()
