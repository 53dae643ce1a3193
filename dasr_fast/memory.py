"""How much of the machine's memory is free."""

import re
from pathlib import Path

CONTAINERS = (
    ("sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
    ("sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)
"""Where Linux tells a container's limit, its use of memory, and files there that can be dropped; versions 2 and 1."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of the machine's memory that a program may still take; `root` is where its files lie."""
    lines = _read(root / "proc/meminfo").splitlines()
    left = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    for folder, limit, used, files in CONTAINERS:
        allowed, taken = (_read(root / folder / name).strip() for name in (limit, used))
        if allowed.isdecimal() and taken.isdecimal():
            droppable = re.search(rf"^{files} (\d+)$", _read(root / folder / "memory.stat"), re.MULTILINE)
            left.append(int(allowed) - int(taken) + (int(droppable[1]) if droppable else 0))
    return max(0, min(left)) if left else None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
