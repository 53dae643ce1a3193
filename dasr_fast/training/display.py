"""What a person sees while a run goes on."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class Display:
    """A progress bar with figures, where someone can see it; else a line now and then, on standard error.

    `step` of `total` steps of so many `images` were taken already. Only one of several processes shows anything.
    """

    def __init__(self, step: int, total: int, images: int, *, shown: bool = True) -> None:
        self._total, self._images, self._shown = total, images, shown
        self._since = self._from = self._shown_at = (step, time.monotonic())
        self._end = 0
        self._console = Console(stderr=True)
        self._bar = Progress(
            BarColumn(20),
            TextColumn("{task.completed}/{task.total}"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not shown or not sys.stderr.isatty(),
        )
        self._task = self._bar.add_task("", total=total, completed=step, figures="")

    def __enter__(self) -> "Display":
        self._bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._bar.stop()

    def advance(self, step: int) -> None:
        """That many steps were taken."""
        self._bar.update(self._task, completed=step)

    def rate(self, step: int) -> float:
        """Images a second since the last call."""
        before, then = self._since
        self._since = (step, time.monotonic())
        return (step - before) * self._images / max(self._since[1] - then, 1e-9)

    @contextmanager
    def untimed(self) -> Iterator[None]:
        """The block counts neither for nor against the rate."""
        then = time.monotonic()
        yield
        self._since = (self._since[0], self._since[1] + time.monotonic() - then)

    def figures(self, step: int, end: int, loss: float, rate: float, others: str) -> None:
        """Show the latest figures: the loss, images a second, and, where there is room for them, others.

        The time that is left is that of the stage that ends with step `end`, since steps of another take another time.
        """
        figures = f"loss {loss:.4g}, {rate:.3g} images/s"
        self._bar.update(self._task, figures=figures)
        if end != self._end:
            self._end, self._from = end, self._shown_at
        self._shown_at = (step, time.monotonic())
        if self._shown and self._bar.disable:
            first, then = self._from
            seconds = (self._shown_at[1] - then) / max(step - first, 1) * (end - step)
            left = f"{seconds / 3600:.1f} h" if seconds > 5400 else f"{seconds / 60:.1f} min"
            stage = "" if end == self._total else " of this stage"
            self.say(f"step {step} of {self._total}, {left} left{stage}: {figures}, {others}")

    def say(self, text: str) -> None:
        """A line of its own."""
        if self._shown:
            self._console.print(text, markup=False, highlight=False, soft_wrap=True)
