"""Tables and plots of files of results, without measuring anything; without files, all figures of README and docs."""

import sys
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import documents, plots, results, tables


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--json", "joined", type=click.Path(dir_okay=False, path_type=Path), help="Write all FILES as one.")
@click.option("--plots", "folder", type=click.Path(file_okay=False, path_type=Path), help="Folder for the plots.")
def main(files: tuple[Path, ...], joined: Path | None, folder: Path | None) -> None:
    """Print the tables of FILES, which benchmarks/run.py has written on one machine, such as one for each suite.

    Without FILES, write README's and docs' tables and plots anew from benchmarks/results.
    """
    if not files:
        click.echo("\n".join(f"Written: {path}" for path in documents.rebuild()))
        return
    try:
        run = results.joined([results.read(file) for file in files])
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    tables.show(tables.markdown(run))
    if joined is not None:
        results.write(run, joined)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for path in plots.draw(run, folder):
            click.echo(f"Written: {path}")


if __name__ == "__main__":
    main()
