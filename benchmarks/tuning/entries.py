"""What is known of the problems that were tuned, and the file that keeps it."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import click

from dasr_fast.files import written_whole
from dasr_fast.kernels.options import Options, Problem

FASTER = 0.98
"""Share of the default's time that options may take to be kept instead of it."""
Entry = dict[str, Any]


def seeds(asked: Problem, default: Options, entries: Sequence[Entry]) -> list[Options]:
    """Options to begin with: the default, and of each type the known ones for the sizes nearest in proportion."""

    def distance(entry: Entry) -> float:
        return sum(abs(math.log((a + 1) / (b + 1))) for a, b in zip(asked.sizes, entry["sizes"], strict=True))

    alike = [entry for entry in entries if (entry["kernel"], entry["layout"]) == (asked.kernel, asked.layout)]
    by_dtype: dict[str, Entry] = {}
    for entry in sorted(alike, key=distance):
        by_dtype.setdefault(entry["dtype"], entry)
    first = [entry["options"] for dtype, entry in by_dtype.items() if dtype == asked.dtype]
    known = [*first, *(entry["options"] for entry in by_dtype.values())]
    return [default, *(options for options in known if options.keys() == default.keys())]


def as_entry(
    asked: Problem, default: Options, best: Options, default_milliseconds: float, milliseconds: float
) -> Entry:
    """What the file keeps of a problem: the best options if they are clearly faster, else the default."""
    faster = milliseconds <= FASTER * default_milliseconds
    return {
        "kernel": asked.kernel,
        "dtype": asked.dtype,
        "layout": asked.layout,
        "sizes": list(asked.sizes),
        "options": dict(best if faster else default),
        "milliseconds": float(f"{milliseconds if faster else default_milliseconds:.4g}"),
        "default_milliseconds": float(f"{default_milliseconds:.4g}"),
    }


def merge(old: Iterable[Entry], new: Iterable[Entry]) -> list[Entry]:
    """Both, sorted; a new entry replaces the old one of the same problem."""

    def key(entry: Entry) -> tuple[str, str, str, tuple[int, ...]]:
        return entry["kernel"], entry["dtype"], entry["layout"], tuple(entry["sizes"])

    return sorted({key(entry): entry for entry in chain(old, new)}.values(), key=key)


def read(path: Path, device: str) -> list[Entry]:
    """Entries of the file; none if there is no file.

    Raises:
        click.UsageError: They are another device's.
    """
    if not path.exists():
        return []
    content = json.loads(path.read_text())
    if content["device"] != device:
        raise click.UsageError(f"{path} holds options for {content['device']}, and this is {device}.")
    return list(content["tuned"])


def write(path: Path, facts: Mapping[str, Any], entries: Iterable[Entry]) -> None:
    """JSON with one line for each fact and each entry."""
    head = "".join(f" {json.dumps(name)}: {json.dumps(value)},\n" for name, value in facts.items())
    lines = ",\n".join(f"  {json.dumps(entry)}" for entry in entries)
    with written_whole(path) as temporary:
        temporary.write_text(f'{{\n{head} "tuned": [\n{lines}\n ]\n}}\n')
