"""Checkpoints of a run: all that a later process needs to go on as if nothing had happened."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dasr_fast.files import written_whole
from dasr_fast.models import CheckpointError
from dasr_fast.models.checkpoint import pickled, read_pickle

KEPT = 2
"""Checkpoints that stay, besides the best."""


class Checkpoints:
    """The checkpoints in a folder, one file a step, of which the latest stay, and the best.

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

    def write(self, step: int, state: dict[str, Any], best: int | None = None) -> Path:
        """Write a checkpoint whole or not at all, and remove all but it, those shortly before it and the best.

        Args:
            step: Number of steps that were taken. Checkpoints of later ones are of a past that couldn't be resumed.
            state: Tensors, numbers, texts, lists and dictionaries.
            best: Step of the best checkpoint, if that is known.

        Raises:
            OSError: It can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.path(step)) as temporary:
            temporary.write_bytes(pickled(state))
        steps = self.steps()
        latest = [other for other in steps if other <= step][-KEPT:]
        for other in steps:
            if other not in (*latest, best):
                self.path(other).unlink(missing_ok=True)
        return self.path(step)

    def latest_first(self) -> Iterator[tuple[Path, Any]]:
        """Files of checkpoints, and what each holds, on the CPU; a `CheckpointError` for one that can't be read."""
        for step in reversed(self.steps()):
            try:
                content = read_pickle(self.path(step))
            except (CheckpointError, OSError) as error:
                content = CheckpointError(str(error))
            yield self.path(step), content
