"""Figures on their way from the device to the log and the display."""

import math
from collections import deque
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from dasr_fast.training.configuration import Configuration
from dasr_fast.training.display import Display
from dasr_fast.training.logs import Log, Means, Window
from dasr_fast.training.schedule import Schedule
from dasr_fast.training.validation import Row


class TrainingError(ValueError):
    """Training can't go on; the message says why."""


def not_finite(step: int) -> TrainingError:
    """What ends a run when a loss or a weight became infinite or NaN."""
    return TrainingError(
        f"The loss or a weight isn't finite any more at step {step}; the latest checkpoint and weights are of before. "
        "A run that begins with those (--initial-weights), with a lower learning rate, --clip or --precision fp32, may "
        "help."
    )


class Records:
    """Figures on their way to the log and the display; in one process of several, the others only take part."""

    def __init__(self, folder: Path, step: int, total: int, configuration: Configuration, *, shown: bool) -> None:
        self._display = Display(step, total, configuration.batch, shown=shown)
        self._log = Log(folder, step) if shown else None
        self._under_way: deque[tuple[int, int, dict[str, Any], Means]] = deque()

    def __enter__(self) -> "Records":
        self._display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._display.__exit__(*error)
        if self._log is not None:
            self._log.close()

    @property
    def shows_pictures(self) -> bool:
        """Whether pictures go anywhere."""
        return self._log is not None and self._log.shows_pictures

    def untimed(self) -> AbstractContextManager[None]:
        """What is done in this context isn't a matter of images a second."""
        return self._display.untimed()

    def begin(self, taken: int, schedule: Schedule, window: Window, world: int) -> None:
        """Let the means of a window be written when they are there."""
        stage = schedule.stage(taken - 1)
        end = schedule.encoder_steps if stage == "encoder" else schedule.total
        facts = {"stage": stage, "learning_rate": schedule.rate(taken - 1)}
        self._under_way.append((taken, end, facts, Means(window, world)))

    def advance(self, taken: int) -> None:
        """After each step: write what has arrived."""
        self._display.advance(taken)
        while self._under_way and self._under_way[0][-1].arrived():
            self._write(*self._under_way.popleft())

    def finish(self) -> None:
        """Write all that is under way."""
        while self._under_way:
            self._write(*self._under_way.popleft())

    def validated(self, taken: int, rows: list[Row], shown: list[tuple[str, Tensor]]) -> None:
        """Write figures and pictures of a validation."""
        assert self._log is not None
        psnr, ssim = fmean(row.psnr for row in rows), fmean(row.ssim for row in rows)
        self._log.write(taken, "validation", {"psnr": psnr, "ssim": ssim, "rows": [asdict(row) for row in rows]})
        for name, picture in shown:
            self._log.picture(taken, name, picture)
        self._display.say(f"step {taken}: PSNR {psnr:.2f} dB, SSIM {ssim:.4f} on validation images")

    def _write(self, taken: int, end: int, facts: dict[str, Any], means: Means) -> None:
        values = means.read()
        if not all(math.isfinite(value) for value in values.values()):
            raise not_finite(taken)
        if self._log is None:
            return
        rate = self._display.rate(taken)
        self._log.write(taken, "training", {**facts, **values, "images_per_second": rate})
        parts = (f"{name} {value:.4g}" for name, value in values.items() if name != "loss")
        self._display.figures(taken, end, values["loss"], rate, ", ".join((f"stage {facts['stage']}", *parts)))
