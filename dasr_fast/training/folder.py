"""The folder of a run: whose it is, what an earlier process left in it, and its checkpoints."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dasr_fast.files import written_whole
from dasr_fast.models import CheckpointError
from dasr_fast.models.checkpoint import pickled, read_pickle
from dasr_fast.processes import Processes

LOCK = ".lock"
"""Name of the file whose lock the run's first process holds."""

KEPT = 2
"""Checkpoints that stay, besides the best."""

# What `written_whole` leaves if the process is killed.
_LEFTOVER = re.compile(r"\.[0-9a-f]{8}\.(toml|jsonl|md|safetensors|pt)")


class FolderError(ValueError):
    """A folder can't be used for a run; the message says why."""


def is_unused(folder: Path) -> bool:
    """Whether a new run can begin in the folder: it doesn't exist, or holds nothing but leftovers of a killed one."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(path.name == LOCK or _LEFTOVER.fullmatch(path.name) for path in folder.iterdir())


@contextmanager
def owned(folder: Path, processes: Processes) -> Iterator[None]:
    """Inside, no other run uses the folder, which exists; leftovers of killed processes are removed first.

    The first of the processes that train together holds the lock, which ends with it however it ends.

    Raises:
        FolderError: Another run uses the folder.
        OSError: The folder can't be written.
    """
    lock = FileLock(folder / LOCK)
    mine = True
    if processes.rank == 0:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            mine = False
    if processes.any(not mine):
        raise FolderError(
            f"{folder} is in use by another process that trains; wait until it ends, or name another folder."
        )
    try:
        if processes.rank == 0:
            for path in (*folder.iterdir(), *folder.glob("checkpoints/.*")):
                if _LEFTOVER.fullmatch(path.name):
                    path.unlink()
        yield
    finally:
        lock.release()


class Checkpoints:
    """All that a later process needs to go on as if nothing had happened: one file a step in a folder.

    The latest stay, and the best. The folder may not exist yet.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, in order."""
        found = (re.fullmatch(r"step-(\d+)\.pt", path.name) for path in self.folder.glob("step-*.pt"))
        return sorted(int(match[1]) for match in found if match)

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self.folder / f"step-{step:08}.pt"

    def write(self, step: int, state: dict[str, Any], best: int | None = None) -> Path:
        """Write the checkpoint of a step whole or not at all, and remove all but it, those shortly before and the best.

        Checkpoints of later steps are of a past that couldn't be resumed. `state` holds tensors, numbers, texts, lists
        and dictionaries.

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
