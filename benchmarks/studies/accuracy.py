"""Evaluate weights beside bicubic upsampling, under the degradations of the paper's Tables 2 and 3.

    python benchmarks/studies/accuracy.py Set5/ Set14/ B100/ --weights x4 --output accuracy

Each set is a folder of HR images; for those of the paper its own figures are shown too. The protocol is that of
`dasr-fast evaluate`: PSNR on Y without a border of SCALE pixels.
"""

import json
import sys
from itertools import groupby, product
from math import inf
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dasr_fast.cli import run
from dasr_fast.cli.common import check_target
from dasr_fast.evaluation import Setting
from dasr_fast.files import write_json, write_text
from dasr_fast.models import BlindSR, CheckpointError

PAPER = Path(__file__).with_name("paper.json")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("sets", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--weights", required=True, help="Name or path.")
@click.option("--table", "tables", type=click.Choice(["2", "3"]), multiple=True, default=("2", "3"), show_default=True)
@click.option("--precision", default="fp32", show_default=True, help="Of the network: fp32, tf32, fp16 or bf16.")
@click.option("--output", type=click.Path(path_type=Path), default=Path("accuracy"), show_default=True)
def main(sets: tuple[Path, ...], weights: str, tables: tuple[str, ...], precision: str, output: Path) -> None:
    """Write the means over each of SETS to OUTPUT.json, and tables of them to OUTPUT.md; earlier ones are replaced."""
    figures, text = output.with_suffix(".json"), output.with_suffix(".md")
    for path in (figures, text):
        check_target(path, overwrite=True)
    try:
        scale = BlindSR.from_pretrained(weights).scale
    except (FileNotFoundError, CheckpointError) as error:
        raise click.UsageError(str(error)) from None
    means = []
    for table, images, method in product(tables, sets, ("bicubic", weights)):
        means += evaluate(images, method, scale, table, precision)
    write_json(figures, means)
    write_text(text, markdown(means))
    click.echo(f"Wrote {figures} and {text}")


def evaluate(images: Path, method: str, scale: int, table: str, precision: str) -> list[dict[str, Any]]:
    """The means of a method over a set in a table of the paper, by `dasr-fast evaluate`.

    PSNR is None where it is infinite, of equal images. Leaves with the command's exit code if an image failed.
    """
    with TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        options = [f"--scale={scale}", f"--method={method}", f"--table{table}", f"--precision={precision}"]
        code = run(["evaluate", str(images), *options, f"--json={figures}"])
        if code:
            sys.exit(code)
        rows = json.loads(figures.read_text(encoding="utf-8"))["rows"]
    name = method if method == "bicubic" else Path(method).stem
    same = {"table": table, "scale": scale, "images": images.resolve().name, "method": name}
    kernels = [Setting(row["sigma"], row["sigma_y"], row["theta"], row["noise"]).kernel for row in rows]
    pairs = zip(kernels, rows, strict=True)
    return [{**same, "kernel": kernel, **{k: row[k] for k in ("noise", "psnr", "ssim")}} for kernel, row in pairs]


def markdown(means: list[dict[str, Any]]) -> str:
    """A table for each of the paper's, with a column for each kernel: PSNR in dB / SSIM, and the paper's PSNR."""
    lines, quoted = [], json.loads(PAPER.read_text(encoding="utf-8"))["rows"]
    for table, of_table in groupby(means, itemgetter("table")):
        rows = list(of_table)
        kernels = list(dict.fromkeys(mean["kernel"] for mean in rows))
        lines += [f"Degradations of Table {table}; columns are kernels:", ""]
        lines += [f"| set | noise | method | {' | '.join(kernels)} |", f"|---|---|---|{'---|' * len(kernels)}"]
        for place, of_images in groupby(rows, itemgetter("table", "scale", "images")):
            figures = list(of_images)
            theirs = [row for row in quoted if itemgetter("table", "scale", "images")(row) == place]
            for noise in sorted({mean["noise"] for mean in figures}):
                begin = f"| {place[-1]} | {noise:g} |"
                for method in dict.fromkeys(mean["method"] for mean in figures):
                    some = [m for m in figures if (m["noise"], m["method"]) == (noise, method)]
                    cells = [f"{inf if m['psnr'] is None else m['psnr']:.2f} / {m['ssim']:.3f}" for m in some]
                    lines.append(f"{begin} {method} | {' | '.join(cells)} |")
                for row in (row for row in theirs if row["noise"] == noise):
                    cells = [f"{psnr:.2f}" for psnr in row["psnr"]]
                    lines.append(f"{begin} *{row['method']}, paper* | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
