"""What the commands share: options, which files, reports, exit codes."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from functools import partial, wraps
from pathlib import Path
from typing import Any, Literal, TypeVar

import click

from dasr_fast.files import FRAME_SUFFIXES, SUFFIXES, WriteError, check_writable, find_images, search

Function = TypeVar("Function", bound=Callable[..., Any])


class Number(click.FloatRange):
    """A finite number within bounds."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not abs(number) < float("inf"):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class _NotBlank:
    """Refuses what is empty, as a script's empty variable is; a path would become the current folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not str(value).strip():
            raise click.BadParameter("it is empty.", ctx, param)
        return super().convert(value, param, ctx)  # type: ignore[misc]


class FilePath(_NotBlank, click.Path):
    """A path of a file or folder."""


class Name(_NotBlank, click.types.StringParamType):
    """A name or path of weights."""


WORDS = ("image", "name", "trained for", "licence")
"""Titles of a table's columns that hold words."""

PRESETS = ("paper", "photo", "second-order", "bsrgan")
"""Degradations by name, see `dasr_fast.degradation.preset`."""

PATH = FilePath(path_type=Path)
NAME = Name()

option = partial(click.option, show_default=True)
overwrite_option = option("--overwrite", is_flag=True, help="Replace files that exist.")
device_option = option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where to compute.")
seed_option = option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    help="Random seed. Each image's noise and kernel depend on it and on the file name.",
)
preset_option = option(
    "--preset",
    type=click.Choice(PRESETS),
    help="Draw everything for each image. paper: as training does by default. photo: blur, resizing, noise and JPEG of "
    "photographs. second-order: the degradation of Real-ESRGAN. bsrgan: that of BSRGAN.",
)


@dataclass(frozen=True)
class DegradationOptions:
    """The options of one fixed degradation, as they were given."""

    sigma: float
    sigma_y: float | None
    theta: float | None
    noise: float
    jpeg: int | None
    mode: Literal["bicubic", "s-fold"]

    @property
    def blurs(self) -> bool:
        """Whether a Gaussian blur was asked for."""
        return bool(self.sigma) or self.sigma_y is not None or self.theta is not None

    @property
    def given(self) -> bool:
        """Whether any of them differs from its default."""
        return self.blurs or bool(self.noise) or self.jpeg is not None or self.mode != "bicubic"

    def setting(self) -> Any:
        """The `dasr_fast.evaluation.Setting`.

        Raises:
            click.UsageError: There is an angle without a second width, which would do nothing.
        """
        from dasr_fast.evaluation import Setting

        if self.theta is not None and self.sigma_y is None:
            raise click.UsageError("--theta turns an anisotropic blur; give --sigma-y too.")
        return Setting(self.sigma, self.sigma_y, self.theta or 0.0, self.noise, self.mode, self.jpeg)


def degradation_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Options of one fixed degradation, which the function gets as `fixed`, a `DegradationOptions`."""
    width = Number(min=0)
    options = (
        option("--sigma", type=width, default=0.0, help="Standard deviation of the Gaussian blur in pixels; 0: none."),
        option("--sigma-y", type=width, help="Along the other axis, for an anisotropic blur; --sigma if left out."),
        option("--theta", type=Number(-360, 360), help="Angle of an anisotropic blur in degrees, from x towards y."),
        option("--noise", type=width, default=0.0, help="Standard deviation of the noise in grey levels."),
        option("--jpeg", type=click.IntRange(1, 100), help="Quality of a JPEG compression (4:2:0) at the end."),
        option("--mode", type=click.Choice(["bicubic", "s-fold"]), default="bicubic", help="Downsampling."),
    )

    @wraps(function)
    def with_options(**given: Any) -> Any:
        fixed = {field.name: given.pop(field.name) for field in fields(DegradationOptions)}
        return function(fixed=DegradationOptions(**fixed), **given)

    for add in reversed(options):
        with_options = add(with_options)
    return with_options


def warn(message: str) -> None:
    """One line on standard error, above a progress bar if there is one."""
    click.echo(f"dasr-fast: {printable(' '.join(message.split()))}", file=sys.stderr)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings as this program's other messages are printed, each once."""
    with warnings.catch_warnings():
        warnings.simplefilter("once", RuntimeWarning)
        warnings.simplefilter("once", UserWarning)
        warnings.showwarning = lambda message, *_, **__: warn(str(message))
        yield


def printable(text: str) -> str:
    """The text with a mark in place of what isn't UTF-8 in the names of files."""
    return text.encode(errors="surrogateescape").decode(errors="replace")


def reason(error: BaseException) -> str:
    """What an error says, without the number of the system's."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}."
    return str(error) or type(error).__name__


@dataclass
class Report:
    """What became of each file: those done, those whose results were there already, those that failed, and others."""

    done: list[Path] = field(default_factory=list)
    there: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def guard(self, path: Path, *, counted: bool = True) -> Iterator[None]:
        """Count the file as done; if the block can't, say why and go on.

        Args:
            path: The file.
            counted: Whether it is one of those to be worked on, not a list of results or the like.
        """
        try:
            yield
            if counted:
                self.done.append(path)
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            why = reason(error)
            self.failed.append((path, why))
            warn(why if str(path) in why else f"{path}: {why}")

    def unfinished(self, results: dict[Path, list[Path]], overwrite: bool) -> dict[Path, list[Path]]:
        """The images of a folder without those whose results exist all; these are counted as there already.

        Raises:
            click.UsageError: The results are the images themselves.
        """
        if overwrite:
            return results
        finished = {image for image, files in results.items() if all(map(os.path.exists, files))}
        if any(results[image][0].samefile(image) for image in finished):
            raise click.UsageError("The results would replace the images themselves; name another folder.")
        self.there += finished
        return {image: files for image, files in results.items() if image not in finished}

    def reasons(self) -> dict[str, str]:
        """Why each file failed, by name."""
        return {path.name: why for path, why in self.failed}

    def finish(self, what: str) -> int:
        """Print a summary; returns the exit code: 0 if nothing failed, else 1."""
        others = (
            f", {len(files)} {name}"
            for name, files in (("there already", self.there), ("failed", self.failed))
            if files
        )
        left = "; left out: " if self.others else ""
        left += ", ".join(f"{count} {kind}" for kind, count in self.others.items())
        click.echo(printable(f"{what}: {len(self.done)} done{''.join(others)}{left}"))
        return 1 if self.failed else 0


def input_images(source: Path) -> list[Path]:
    """The file itself, or the images in the folder.

    Raises:
        click.UsageError: There is nothing, or no image in the folder.
    """
    if source.is_dir():
        images = find_images(source)
        if not images:
            raise click.UsageError(f"The folder {source} holds no image ({', '.join(SUFFIXES)}).")
        return images
    if not source.is_file():
        raise click.UsageError(f"There is no file or folder {source}.")
    return [source]


def images_of_tree(source: Path, output: Path | None, report: Report) -> list[Path]:
    """The file itself, or the images in the folder and its subfolders but those in `output`; others are counted.

    Raises:
        click.UsageError: There is nothing, or no image in the folder.
    """
    if not source.is_dir():
        return input_images(source)
    images, others = search(source, without=output, suffixes=FRAME_SUFFIXES)
    if not images:
        raise click.UsageError(f"The folder {source} holds no image ({', '.join(FRAME_SUFFIXES)}).")
    report.others += others
    return images


def output_paths(
    source: Path,
    images: list[Path],
    output: Path | None,
    mark: str,
    suffix: str | None,
    suffixes: tuple[str, ...] = SUFFIXES,
) -> dict[Path, Path]:
    """Where the result of each image goes: a named file, a folder (same names), or beside the source with `mark`.

    Subfolders of a folder are kept.

    Raises:
        click.UsageError: Two results would have one name, or many images are to go into one file.
    """

    def renamed(image: Path, mark: str = "") -> str:
        return f"{image.stem}{mark}{suffix or image.suffix}"

    def inside(folder: Path, image: Path) -> Path:
        return folder / (image.parent.relative_to(source) if source in image.parents else "") / renamed(image)

    if output is None:
        beside = source.resolve()
        targets = (
            {image: inside(beside.with_name(beside.name + mark), image) for image in images}
            if source.is_dir()
            else {source: source.with_name(renamed(source, mark))}
        )
    elif output.suffix and not output.is_dir() and (output.suffix.lower() in suffixes or source.is_file()):
        if output.suffix.lower() not in suffixes:
            raise click.UsageError(f"{output}: images are written as {', '.join(suffixes)}; a folder must exist.")
        named = {".jpeg": ".jpg", ".tiff": ".tif"}.get(output.suffix.lower(), output.suffix.lower())
        if suffix is not None and named != suffix:
            raise click.UsageError(f"{output} isn't a name for the format {suffix.removeprefix('.')}.")
        if source.is_dir():
            raise click.UsageError(f"The images of a folder can't all go into the file {output}; name a folder.")
        targets = {source: output}
    else:
        targets = {image: inside(output, image) if source.is_dir() else output / renamed(image) for image in images}
    refuse_same_names(targets.values())
    return targets


def refuse_same_names(targets: Iterable[Path]) -> None:
    """Raises click.UsageError if two of the files that are to be written have one name."""
    twice = next((target for target, count in Counter(targets).items() if count > 1), None)
    if twice is not None:
        raise click.UsageError(f"Two images would both be written to {twice}.")


def refuse_overwriting(target: Path, overwrite: bool) -> None:
    """Raises FileExistsError if `target` exists and may not be overwritten."""
    if target.exists() and not overwrite:
        raise FileExistsError(f"{target} exists already; --overwrite replaces it.")


def check_target(target: Path, overwrite: bool) -> None:
    """Raises an error if `target` can't be written: it exists, its folder doesn't, or the system doesn't let it."""
    if target.is_dir():
        raise click.UsageError(f"{target} is a folder; name a file.")
    refuse_overwriting(target, overwrite)
    check_writable(target)


def make_folder(folder: Path) -> None:
    """Create the folder of results and its parents.

    Raises:
        click.UsageError: It can't be made; the message says why.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise click.UsageError(f"{folder} is not a folder.") from None
    except OSError as error:
        raise click.UsageError(f"The folder {folder} can't be made: {error.strerror}.") from None


@contextmanager
def results_in(*folders: Path) -> Iterator[None]:
    """Create the folders of results, and remove them and their new parents again if they are empty after the block.

    Raises:
        click.UsageError: One can't be made, or files can't be written into it; the message says why.
    """
    places = {place for folder in folders for place in (folder, *folder.parents)}
    new = sorted((place for place in places if not os.path.lexists(place)), reverse=True)
    try:
        for folder in folders:
            make_folder(folder)
            _check_folder(folder)
        yield
    finally:
        for place in new:
            with suppress(OSError):
                place.rmdir()


def _check_folder(folder: Path) -> None:
    try:
        check_writable(folder / "result")
    except WriteError as error:
        raise click.UsageError(f"The folder {folder} can't be written into: {error.reason}.") from None


def print_table(title: str, columns: Iterable[str], *sections: Iterable[Iterable[str]]) -> None:
    """Print a table on standard output: words to the left, and in all other columns numbers to the right."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(printable(title)))
    for name in columns:
        table.add_column(escape(printable(name)), justify="left" if name in WORDS else "right")
    for rows in sections:
        for row in rows:
            table.add_row(*(escape(printable(text)) for text in row))
        table.add_section()
    Console().print(table)


def load_model(weights: str | None, scale: int | None, device: str) -> Any:
    """The `BlindSR` of these weights (those of the scale, else x4, if None), on the device.

    Raises:
        click.UsageError: The weights are for another scale.
        ValueError: There is no such device here.
    """
    use_large_pages()
    forget_old_primitives()
    from dasr_fast.device import find_device
    from dasr_fast.models import BlindSR

    model = BlindSR.from_pretrained(weights or f"x{scale or 4}").to(find_device(device))
    if scale is not None and scale != model.scale:
        raise click.UsageError(f"{weights} are weights for scale {model.scale}, not {scale}.")
    return model


def use_large_pages() -> None:
    """Let PyTorch ask Linux for pages of 2 MB from its first tensor in memory on, unless the user has decided.

    Tensors of more than 32 MB, as the features of large images, are given back after each layer and come in fresh
    pages for the next; 4096 bytes at a time that is a quarter of the network's time.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


def forget_old_primitives() -> None:
    """Let oneDNN, from its first op on, keep 32 compiled primitives in place of 1024, unless the user has decided.

    Every size of an image brings its own, a megabyte and more: a folder of images of many sizes would fill the
    memory. Images of one size need 12.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
