"""Signs of life while files are worked on."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], what: str, total: int, *, every: float = 30.0) -> Iterator[Item]:
    """The items, with a progress bar on standard error; if that is no terminal, with a line now and then.

    Args:
        items: To work on.
        what: Is done with them, such as "Upscaling".
        total: Number of items.
        every: Seconds between two lines.
    """
    return _with_bar(items, what, total) if sys.stderr.isatty() else _with_lines(items, what, total, every)


def _with_bar(items: Iterable[Item], what: str, total: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    text = TextColumn("[progress.description]{task.description}")
    columns = (SpinnerColumn(), text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield from bar.track(items, total=total, description=what)


def _with_lines(items: Iterable[Item], what: str, total: int, every: float) -> Iterator[Item]:
    done, began, finished = 0, time.monotonic(), threading.Event()

    def tell() -> None:
        while not finished.wait(every):
            seconds = time.monotonic() - began
            left = f", {seconds * (total - done) / done:.0f} s left" if 0 < done <= total else ""
            print(f"{what}: {done} of {total} done after {seconds:.0f} s{left}", file=sys.stderr, flush=True)

    threading.Thread(target=tell, daemon=True).start()
    try:
        for item in items:
            yield item
            done += 1
    finally:
        finished.set()
