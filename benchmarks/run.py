"""Compare dasr-fast with the released code and with what else people use, on this machine."""

import re
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
from dasr_fast.images import ImageError
from tests.released.baseline import NoCheckoutError, find_baseline

QUICK = Effort(seconds=1.0, least=3, most=5, round_seconds=0.05)


def _sizes(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    for value in values:
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", value):
            raise click.BadParameter(f"{value} is no width and height such as 320x180.")
    return tuple(tuple(map(int, value.split("x"))) for value in values)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--quick", is_flag=True, help="A few works in a minute and a half, and a picture.")
@click.option("--everything", is_flag=True, help="All sizes and contenders: hours on a CPU.")
@click.option("--suite", "names", multiple=True, type=click.Choice(list(suites.SUITES)), help="Only these; repeatable.")
@click.option("--size", "sizes", multiple=True, callback=_sizes, metavar="WxH", help="Only these LR sizes; repeatable.")
@click.option("--scale", "scales", multiple=True, type=click.IntRange(2, 4), help="Only these scales; repeatable.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1), help="Only these batches; repeatable.")
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
@click.option("--confirm", is_flag=True, help="Ask each figure again, alone; name those that differ, and exit with 1.")
@click.option("--profile", is_flag=True, help="Write a profile of each contender's call to OUTPUT/profiles.")
@click.option("--save", is_flag=True, help="Keep the results in benchmarks/results/<machine>.json and .md too.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Threads of PyTorch; its own choice if left out.")
def main(
    names: tuple[str, ...],
    output: Path,
    confirm: bool,
    profile: bool,
    save: bool,
    device: str,
    threads: int | None,
    **which: Any,
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
        settings = Settings(device=kind, folder=Path(folder), **which)
        profiles = output / "profiles" if profile else None
        try:
            baseline = find_baseline(settings.reference, kind).description
            (profiles or output).mkdir(parents=True, exist_ok=True)
            click.echo(picture.write_picture(settings.image, "x4", output / "picture.png"))
        except (ImageError, FileNotFoundError, NoCheckoutError) as error:
            raise click.UsageError(str(error)) from None
        chosen = names or (suites.QUICK if settings.quick else tuple(suites.SUITES))
        omitted, ceilings = list(suites.left_out(settings)), machine.ceilings(kind, settings.quick)
        run = Run(machine.facts(kind), baseline, ceilings, omitted, [])
        effort = QUICK if settings.quick else Effort()
        for work in suites.works(chosen, settings):
            click.echo(f"{time.monotonic() - start:5.0f} s  {work.suite}: {work.label}", err=True)
            find = partial(suites.find, settings, work.suite, work.label)
            run.results += compare(find, settings, effort, again=confirm, profiles=profiles)
            run.seconds = round(time.monotonic() - start, 1)
            write(run, output / "results.json")  # A run that is interrupted keeps what it has.
    _show(run, output, save, brief=settings.quick)
    if any(result.confirmed is False for result in run.results):
        sys.exit(1)


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
