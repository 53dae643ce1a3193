"""Figures of a run: gathered on the device, and written down as lines of JSON and for TensorBoard."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dasr_fast.files import written_whole


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
    """Means of a window over its steps and all processes, on their way from the device.

    Args:
        window: With the same names in every process.
        world: Number of processes.
    """

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


class Log:
    """`log.jsonl` in a folder, one entry a line, and the same for TensorBoard if it is installed.

    Args:
        folder: Of the run.
        step: Entries of later steps, which a resumed run takes anew, are removed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "log.jsonl"
        entries = [entry for entry in read_log(self.path) if entry["step"] <= step]
        with written_whole(self.path) as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _board(folder, step)

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        """Add an entry: `{"step": step, "kind": kind, **values}`; TensorBoard gets what are numbers."""
        self._file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._board.add_scalar(f"{kind}/{name}", value, step)

    @property
    def shows_pictures(self) -> bool:
        """Whether `picture` does anything."""
        return self._board is not None

    def picture(self, step: int, name: str, image: Tensor) -> None:
        """Show TensorBoard, if it is there, a picture: `[3, H, W]` in 0 to 255."""
        if self._board is not None:
            self._board.add_image(name, image.round().clamp(0, 255).to(torch.uint8), step)

    def close(self) -> None:
        """Finish both."""
        self._file.close()
        if self._board is not None:
            self._board.close()


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
