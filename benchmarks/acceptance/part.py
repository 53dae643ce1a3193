"""What all parts share: what they are asked for, what they report, and other programs that they run."""

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dasr_fast.files import written_whole

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""

State = Literal["passed", "failed", "late", "absent", "skipped"]
"""`late`: stopped at its time limit; `absent`: this machine lacks what it needs; `skipped`: no time was left for it."""

SHOWN = 20
"""Failures that a report lists at most."""


class AbsentError(Exception):
    """This machine lacks what a part needs; the message says what, in one sentence without a full stop."""


@dataclass(frozen=True)
class Asked:
    """What a part is asked for.

    Attributes:
        folder: For all that it writes; it exists.
        device: "cpu" or "cuda"; on a CPU a part does little, to show that it works.
        end: When it should be done, as `time.monotonic` tells.
        reference: A checkout of the released code, if there is one.
        save: Whether results are to be kept in the repository.
    """

    folder: Path
    device: str
    end: float
    reference: Path | None = None
    save: bool = False

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.end - time.monotonic()

    @property
    def on_gpu(self) -> bool:
        """Whether it is about a GPU."""
        return self.device == "cuda"


@dataclass
class Report:
    """What came out of a part.

    Attributes:
        part: Its name.
        state: See `State`.
        line: What came out, in one line.
        failures: What is wrong, a line each.
        figures: Numbers, by name.
        targets: What was to be reached, what was, and whether that is enough.
        seconds: How long it took.
    """

    part: str
    state: State = "late"
    line: str = ""
    failures: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    targets: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def fail(self, reason: str) -> None:
        """Note a failure by the first line of a reason."""
        lines = reason.strip().splitlines() or ["it gives no reason"]
        self.failures.append(lines[0][:300])

    def write(self, folder: Path) -> None:
        """Write `<part>.json`."""
        shown = self.failures[:SHOWN]
        if len(self.failures) > SHOWN:
            shown.append(f"and {len(self.failures) - SHOWN} more")
        with written_whole(folder / f"{self.part}.json") as path:
            path.write_text(json.dumps({**asdict(self), "failures": shown}, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path, part: str) -> "Report | None":
        """What a part has written last; None if that is no report."""
        try:
            return cls(**json.loads((folder / f"{part}.json").read_text()))
        except (FileNotFoundError, TypeError, ValueError):
            return None


def lost(device: str) -> bool:
    """Whether nothing more can be computed on the GPU in this process."""
    if device != "cuda":
        return False
    import torch

    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False


def said(
    command: Sequence[str | Path], log: Path, seconds: float, environment: Mapping[str, str] | None = None
) -> tuple[int | None, str]:
    """Run a program in the checkout, its output in a file.

    Returns:
        Its exit status, None if it was stopped after that many seconds, and all that it said.

    Raises:
        AbsentError: There is no such program.
    """
    try:
        with log.open("w") as file:
            status: int | None = subprocess.run(
                [str(word) for word in command],
                cwd=ROOT,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=max(1.0, seconds),
            ).returncode
    except FileNotFoundError:
        raise AbsentError(f"{command[0]} isn't there") from None
    except subprocess.TimeoutExpired:
        status = None
    return status, log.read_text(errors="replace")
