"""What `python -m dasr_fast.build` made, for which sources, and why parts are missing: a file beside the library."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "compiled"
LIBRARY = "_library.abi3.so"
RECORD = "build.json"
COMMAND = "python -m dasr_fast.build"


class NotBuilt(ImportError):
    """There is no usable library on this machine; the message says why."""


def sources() -> Path | None:
    """Where csrc is: in the package if installed from a wheel, beside it in a checkout; None if nowhere."""
    package = FOLDER.parent
    return next((csrc for csrc in (package / "csrc", package.parent / "csrc") if (csrc / "cpp").is_dir()), None)


PARTS = ("cpp", "cuda")
"""Parts of the library, each with its folder in csrc."""


def digest(csrc: Path, part: str) -> str:
    """A hash of names and contents of everything that is compiled for a part."""
    total = hashlib.sha256()
    for path in sorted(path for path in (csrc / part).rglob("*") if path.suffix in (".cpp", ".cu", ".cuh", ".h")):
        content = path.read_bytes()
        total.update(f"{path.relative_to(csrc).as_posix()} {len(content)}\n".encode() + content)
    return total.hexdigest()


def read(folder: Path = FOLDER) -> dict[str, Any]:
    """The record: torch, compilers, instruction sets, architectures, and for each part None or the reason.

    Empty if nothing was ever built there, or if it can't be read.
    """
    try:
        record = json.loads((folder / RECORD).read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def require(part: str | None = None, folder: Path = FOLDER) -> Path:
    """Path of the compiled library, if it has that part ("cpp", "cuda", or None for any).

    Raises:
        NotBuilt: It hasn't, or was compiled from other sources than those that are there now.
    """
    record = read(folder)
    made = record.get("parts", {})
    wanted = (part,) if part else PARTS
    reasons = {name: made.get(name, f"it was not built: run {COMMAND}") for name in wanted}
    if None not in reasons.values():
        raise NotBuilt(reasons[wanted[0]])
    path = folder / LIBRARY
    if not path.exists():
        raise NotBuilt(f"{path} is missing: run {COMMAND}")
    csrc, compiled = sources(), record.get("sources", {})
    built = [name for name, reason in reasons.items() if reason is None]
    if csrc is not None and any(digest(csrc, name) != compiled.get(name) for name in built):
        raise NotBuilt(f"the library is older than csrc: run {COMMAND}")
    return path


@cache
def missing(part: str) -> str | None:
    """Why the package's own library lacks a part, or None; asked once, since that reads all of csrc."""
    try:
        require(part)
    except NotBuilt as error:
        return str(error)
    return None
