"""Figures of a run: summed on the device, and written to a log, to TensorBoard and to the display."""

import json
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dasr_fast.files import write_text
from dasr_fast.training.display import Display
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


class Window:
    """Sums of losses and scores over some steps, on the device."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.steps = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count the values of a step."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value.double()
        self.steps += 1


class Means:
    """Means of a window over its steps and all of `world` processes, on their way from the device."""

    def __init__(self, window: Window, world: int) -> None:
        self._names = list(window.sums)
        means = torch.stack(list(window.sums.values())) / (window.steps * world)
        if world > 1:
            dist.all_reduce(means)
        self._arrived: Any = None
        self._together = world > 1
        if means.is_cuda:
            values = torch.empty(means.shape, dtype=means.dtype, device="cpu", pin_memory=True)
            means = values.copy_(means, non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()
        self._values = means

    def arrived(self) -> bool:
        """Whether they can be read without waiting; of several processes always, as all must read at the same step."""
        return self._arrived is None or self._together or bool(self._arrived.query())

    def read(self) -> dict[str, float]:
        """The means by name; waits for them."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return dict(zip(self._names, self._values.tolist(), strict=True))


class LogFile:
    """`log.jsonl` in a run's folder, one entry a line, and the same for TensorBoard if it is installed.

    Entries after `step`, where a resumed run goes on, are removed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "log.jsonl"
        entries = [entry for entry in read_log(self.path) if entry["step"] <= step]
        write_text(self.path, "".join(json.dumps(entry) + "\n" for entry in entries))
        self._file = self.path.open("a", encoding="utf-8")
        self.board = _board(folder, step)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Add an entry: `{"step": step, "kind": kind, **values}`; TensorBoard gets what are numbers."""
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        if self.board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{kind}/{name}", value, step)

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Show TensorBoard, if it is there, a picture: `[3, H, W]` in 0 to 255."""
        if self.board is not None:
            self.board.add_image(name, image.round().clamp(0, 255).to(torch.uint8), step)

    def close(self) -> None:
        """Finish both."""
        self._file.close()
        if self.board is not None:
            self.board.close()


class Log:
    """Figures on their way to the display and the file, which is None in processes that only take part."""

    def __init__(self, display: Display, file: LogFile | None) -> None:
        self.display, self.file = display, file
        self._under_way: deque[tuple[int, int, dict[str, Any], Means]] = deque()

    def __enter__(self) -> "Log":
        self.display.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.display.__exit__(*error)
        if self.file is not None:
            self.file.close()

    def begin(self, taken: int, schedule: Schedule, window: Window, world: int) -> None:
        """Let the means of a window be written when they are there."""
        stage = schedule.stage(taken - 1)
        end = schedule.encoder_steps if stage == "encoder" else schedule.total
        facts = {"stage": stage, "learning_rate": schedule.rate(taken - 1)}
        self._under_way.append((taken, end, facts, Means(window, world)))

    def advance(self, taken: int) -> None:
        """After each step: write what has arrived."""
        self.display.advance(taken)
        while self._under_way and self._under_way[0][-1].arrived():
            self._write(*self._under_way.popleft())

    def finish(self) -> None:
        """Write all that is under way."""
        while self._under_way:
            self._write(*self._under_way.popleft())

    def validated(self, taken: int, rows: list[Row], shown: list[tuple[str, Tensor]]) -> None:
        """Write figures and pictures of a validation."""
        assert self.file is not None
        psnr, ssim = fmean(row.psnr for row in rows), fmean(row.ssim for row in rows)
        self.file.write(taken, "validation", {"psnr": psnr, "ssim": ssim, "rows": [asdict(row) for row in rows]})
        for name, picture in shown:
            self.file.picture(taken, name, picture)
        self.display.say(f"step {taken}: PSNR {psnr:.2f} dB, SSIM {ssim:.4f} on validation images")

    def _write(self, taken: int, end: int, facts: dict[str, Any], means: Means) -> None:
        values = means.read()
        if not all(math.isfinite(value) for value in values.values()):
            raise not_finite(taken)
        if self.file is None:
            return
        rate = self.display.rate(taken)
        self.file.write(taken, "training", {**facts, **values, "images_per_second": rate})
        parts = (f"{name} {value:.4g}" for name, value in values.items() if name != "loss")
        self.display.figures(taken, end, values["loss"], rate, ", ".join((f"stage {facts['stage']}", *parts)))


def read_log(path: Path) -> list[dict[str, Any]]:
    """Entries of a log, without lines that were never finished or aren't whole; none if there is no file."""
    lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
    return [entry for line in lines if line.endswith(b"\n") and (entry := _entry(line)) is not None]


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(folder / "tensorboard", purge_step=step + 1)
