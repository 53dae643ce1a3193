"""The folder of a run: whose it is, and what an earlier process left in it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from dasr_fast.training.processes import Processes

LOCK = ".lock"
"""Name of the file whose lock the run's first process holds."""

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
