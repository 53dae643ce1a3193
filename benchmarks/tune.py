"""Find the fastest launch options of the Triton kernels on this GPU, and keep them where `kernels/options.py` looks."""

import sys
from functools import partial
from pathlib import Path

import click
import torch
import triton
from rich.console import Console
from rich.progress import track

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.tuning.problems import DTYPES, Planned, describe, plan, settings
from benchmarks.tuning.search import alternatives, pairs
from benchmarks.tuning.tuner import tune
from dasr_fast.kernels.options import CONFIGURATIONS, file_stem
from tests.specification import SPECIFICATIONS


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--op", "names", multiple=True, type=click.Choice(list(SPECIFICATIONS)), help="Only these; may be repeated."
)
@click.option("--dtype", "dtypes", multiple=True, type=click.Choice(DTYPES), help="Only these; may be repeated.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    show_default="kernels/configs/<GPU>.json",
    help="File that receives the options; what else it holds stays.",
)
@click.option(
    "--budget",
    type=click.FloatRange(0, min_open=True),
    default=1800.0,
    show_default=True,
    help="Seconds in all, shared among the problems; the comparison under way as they end is finished.",
)
@click.option("--dry-run", is_flag=True, help="List what would be tried at first; needs no GPU.")
def main(names: tuple[str, ...], dtypes: tuple[str, ...], output: Path | None, budget: float, dry_run: bool) -> None:
    """Tune the Triton kernels for the sizes that matter, on this GPU, starting from their defaults and tuned options.

    Each function that contains a kernel is timed as a whole, as a CUDA graph, with one option of the kernel varied at
    a time. Options that fail to compile, or change the result, are dropped.
    """
    console = Console()
    say = partial(console.print, markup=False, highlight=False, soft_wrap=True)
    if not dry_run and not torch.cuda.is_available():
        raise click.ClickException("No NVIDIA GPU was found; --dry-run lists what would be tried on one.")
    planned = list(plan(settings(names or tuple(SPECIFICATIONS), dtypes or DTYPES), say))
    if dry_run:
        for one in planned:
            say(listing(one))
        say(f"{len(planned)} problems")
        return
    device = torch.cuda.get_device_name()
    path = output or CONFIGURATIONS / f"{file_stem(device)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "device": device,
        "capability": list(torch.cuda.get_device_capability()),
        "torch": torch.__version__,
        "triton": triton.__version__,
    }
    shown = partial(track, description="Tuning", total=len(planned), console=console, disable=not console.is_terminal)
    tune(planned, "cuda", path, facts, budget, say, shown)
    say(f"Written: {path}")


def listing(one: Planned) -> str:
    """A problem, and the values that its options have and may take at first."""
    parts = []
    for name, value in one.default.items():
        others = alternatives(one.asked, one.default, one.default, name)
        parts.append(f"{name} {value}" + (f" or {', '.join(str(other[name]) for other in others)}" if others else ""))
    parts.append(f"{len(pairs(one.asked, one.default, one.default))} changes of two")
    return f"{describe(one.asked)} in {one.function}: {'; '.join(parts)}"


if __name__ == "__main__":
    main()
