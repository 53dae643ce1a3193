"""Signs of life while files are worked on."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Progress(Generic[Item]):
    """The items, with a progress bar on standard error; if that is no terminal, with a line now and then.

    Args:
        items: To work on.
        what: Is done with them, such as "Upscaling".
        total: Number of items.
        every: Seconds between two lines.
    """

    def __init__(self, items: Iterable[Item], what: str, total: int, *, every: float = 30.0) -> None:
        self._items, self._what, self._total, self._every = items, what, total, every
        self._done = 0.0
        self._show: Callable[[], None] = lambda: None

    def part(self, share: float) -> None:
        """Show how much of the present item is done, from 0 to 1."""
        self._done = int(self._done) + min(share, 0.999)
        self._show()

    def __iter__(self) -> Iterator[Item]:
        return self._with_bar() if sys.stderr.isatty() else self._with_lines()

    def _each(self) -> Iterator[Item]:
        for item in self._items:
            yield item
            self._done = int(self._done) + 1
            self._show()

    def _with_bar(self) -> Iterator[Item]:
        from rich import progress as rich
        from rich.console import Console

        text = rich.TextColumn("[progress.description]{task.description}")
        times = rich.TimeElapsedColumn(), rich.TimeRemainingColumn()
        columns = (rich.SpinnerColumn(), text, rich.BarColumn(), rich.MofNCompleteColumn(), *times)
        with rich.Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(self._what, total=self._total)
            self._show = lambda: bar.update(task, completed=self._done)
            yield from self._each()

    def _with_lines(self) -> Iterator[Item]:
        began, finished = time.monotonic(), threading.Event()

        def tell() -> None:
            while not finished.wait(self._every):
                seconds, done = time.monotonic() - began, self._done
                part = f" and {done % 1:.0%} of the next" if done % 1 else ""
                left = f", {seconds * (self._total - done) / done:.0f} s left" if 0 < done <= self._total else ""
                text = f"{self._what}: {int(done)} of {self._total}{part} done after {seconds:.0f} s{left}"
                print(text, file=sys.stderr, flush=True)

        threading.Thread(target=tell, daemon=True).start()
        try:
            yield from self._each()
        finally:
            finished.set()
