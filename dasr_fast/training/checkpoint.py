"""Checkpoints of a run: all that a later process needs to go on as if nothing had happened."""

import re
from pathlib import Path
from typing import Any

import torch

from dasr_fast.files import written_whole
from dasr_fast.models import CheckpointError

KEPT = 2
"""Checkpoints that stay."""


class Checkpoints:
    """The checkpoints in a folder, one file a step, of which the latest stay.

    Args:
        folder: May not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Steps of which there are checkpoints, in order."""
        found = (re.fullmatch(r"step-(\d+)\.pt", path.name) for path in self.folder.glob("step-*.pt"))
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"step-{step:08}.pt"

    def write(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint whole or not at all, and remove those that are older than the latest `KEPT`.

        Args:
            step: Number of steps that were taken.
            state: Tensors, numbers, texts, lists and dictionaries.

        Raises:
            OSError: It can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path(step)) as temporary:
            try:
                torch.save(state, temporary)
            except RuntimeError as error:  # PyTorch's for a full disk.
                raise OSError(f"The checkpoint {self.path(step)} can't be written: {error}") from None
        for unfinished in self.folder.glob(".*.pt"):  # Of a process that was killed while it wrote.
            unfinished.unlink(missing_ok=True)
        for old in self.steps()[:-KEPT]:
            self.path(old).unlink(missing_ok=True)
        return self.path(step)

    def latest(self) -> dict[str, Any] | None:
        """The latest checkpoint that can be read, on the CPU; None if there is none at all.

        Raises:
            CheckpointError: There are some, and none can be read.
        """
        for step in reversed(self.steps()):
            state = _read(self.path(step))
            if state is not None:
                return state
        if self.steps():
            raise CheckpointError(f"No checkpoint in {self.folder} can be read.")
        return None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # Damaged files make PyTorch raise almost anything; the checkpoint before may be whole.
        return None
    return content
