"""Train the networks of the paper's Table 1 with a small budget, and compare them on isotropic blur.

    python benchmarks/studies/ablation.py --data photos/ --validation others/ --steps 2000 -- --groups 2 --blocks 2

What follows `--` goes to `dasr-fast train` for every row. Stopped, it goes on where it was when it is called again.
"""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import click
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dasr_fast.cli import run
from dasr_fast.files import write_json
from dasr_fast.training.log import read_log


class Row(NamedTuple):
    """A network of the table."""

    name: str
    representation: str = "moco"
    depthwise: str = "dynamic"
    gate: str = "parallel"


ROWS = (
    Row("sr-loss", "sr-loss"),
    Row("static", depthwise="static"),
    Row("no-gate", gate="none"),
    Row("dasr"),
    Row("oracle", "oracle"),
)
"""Without degradation representation learning, without dynamic convolution, without channel modulation, whole, and with
the true degradation for a representation."""


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of HR images for training.")
@click.option("--validation", type=click.Path(path_type=Path), required=True, help="Folder of other HR images.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("ablation"), show_default=True)
@click.option("--steps", type=click.IntRange(1), default=2000, show_default=True, help="Steps of each row.")
@click.option(
    "--encoder-steps", type=click.IntRange(0), help="Steps of the encoder alone before; a fifth of --steps if left out."
)
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def main(
    data: Path, validation: Path, output: Path, steps: int, encoder_steps: int | None, options: tuple[str, ...]
) -> None:
    """Train each row in a folder of its own in OUTPUT, print the table, and write OUTPUT/ablation.json.

    Degradations are isotropic blur without noise, and the SR network of each row takes as many steps. OPTIONS are those
    of dasr-fast train.
    """
    encoder_steps = steps // 5 if encoder_steps is None else encoder_steps
    recipe = ["--kernel=isotropic", "--noise=0", f"--steps={steps}", f"--encoder-steps={encoder_steps}", *options]
    results: dict[str, list[dict[str, Any]]] = {}
    for row in ROWS:
        folder = output / row.name
        place = "--resume" if (folder / "configuration.toml").is_file() else "--output"
        network = [f"--representation={row.representation}", f"--depthwise={row.depthwise}", f"--gate={row.gate}"]
        code = run(["train", f"--data={data}", f"--validation={validation}", place, str(folder), *network, *recipe])
        if code:
            sys.exit(code)
        entries = read_log(folder / "log.jsonl")
        results[row.name] = [entry["rows"] for entry in entries if entry["kind"] == "validation"][-1]
    show(results)
    rows = [{**row._asdict(), "psnr": {r["kernel"]: r["psnr"] for r in results[row.name]}} for row in ROWS]
    write_json(output / "ablation.json", {"recipe": recipe, "rows": rows})


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    """Print the table."""
    widths = [figures["kernel"] for figures in results[ROWS[0].name]]
    table = Table(*("learned by", "dynamic kernel", "gate"), *widths, title="PSNR in dB on Y for widths of the blur")
    for row in ROWS:
        yes = ("yes" if there else "no" for there in (row.depthwise == "dynamic", row.gate != "none"))
        table.add_row(row.representation, *yes, *(f"{figures['psnr']:.2f}" for figures in results[row.name]))
    Console().print(table)


if __name__ == "__main__":
    main()
