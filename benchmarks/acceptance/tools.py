"""Programs that come with CUDA."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.acceptance.part import AbsentError


def find(program: str) -> str:
    """Path of a program: on the PATH, in CUDA_HOME, or in the usual folders.

    Raises:
        AbsentError: It isn't there.
    """
    found = next((path for folder in [None, *_folders()] if (path := shutil.which(program, path=folder))), None)
    if found is None:
        raise AbsentError(f"{program} isn't there")
    return found


def _folders() -> Iterator[str]:
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    for home in filter(None, homes):
        yield from (f"{home}/bin", f"{home}/compute-sanitizer")
    for version in sorted(Path("/opt/nvidia/nsight-compute").glob("*"), reverse=True):
        yield str(version)
