"""How much of the machine's memory this process may still take."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

GROUPS = {
    "cgroup2": (("memory.max", "memory.high"), "memory.current", "inactive_file"),
    "cgroup": (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
}
"""Files of a control group, by its file system (versions 2 and 1): its limits, its use of memory, and the field of
memory.stat for files in memory that can be dropped."""

LIMITS = {"Max address space": "VmSize", "Max data size": "VmData"}
"""What `ulimit` limits, as Linux names it, and how much of it a process has taken."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Bytes of the machine's memory that this process may still take; None where the system doesn't tell.

    The least of what Linux calls available, what is left to each control group (container) around the process, and what
    is left below its own limits (`ulimit`).

    Args:
        root: The folder that holds proc and sys.
    """
    left = [1024 * int(size) for size in re.findall(r"^MemAvailable: +(\d+) kB$", _read(root / "proc/meminfo"), re.M)]
    left += [*_left_to_groups(root), *_left_to_process(root)]
    return max(0, min(left)) if left else None


def _left_to_groups(root: Path) -> Iterator[int]:
    """Bytes left to each control group that limits memory, from the process's own to the outermost that it can see."""
    own = [line.split(":", 2)[1:] for line in _read(root / "proc/self/cgroup").splitlines()]
    for line in _read(root / "proc/self/mountinfo").splitlines():
        _, _, _, top, place, *_ = line.split()
        system, _, options = line.partition(" - ")[2].split(" ", 2)
        for controllers, path in own:
            wanted = system == "cgroup" and "memory" in controllers.split(",") and "memory" in options.split(",")
            if not wanted and not (system == "cgroup2" and not controllers):
                continue
            mounted = root / place.lstrip("/")
            # Where the process's group isn't below the one that is mounted, that is all there is to see.
            inside = os.path.relpath(path, top) if os.path.commonpath((path, top)) == top else "."
            folder = mounted / inside
            for group in (folder, *folder.parents):
                yield from _left_to_group(group, *GROUPS[system])
                if group == mounted:
                    break


def _left_to_group(folder: Path, limits: tuple[str, ...], used: str, files: str) -> Iterator[int]:
    taken = _read(folder / used).strip()
    droppable = re.search(rf"^{files} (\d+)$", _read(folder / "memory.stat"), re.M)
    for limit in limits:
        allowed = _read(folder / limit).strip()
        if allowed.isdecimal() and taken.isdecimal():
            yield int(allowed) - int(taken) + (int(droppable[1]) if droppable else 0)


def _left_to_process(root: Path) -> Iterator[int]:
    """Bytes left below each limit of the process itself."""
    limits, status = (_read(root / "proc/self" / name) for name in ("limits", "status"))
    for limit, used in LIMITS.items():
        allowed = re.search(rf"^{limit} +(\d+) ", limits, re.M)
        taken = re.search(rf"^{used}:\s+(\d+) kB$", status, re.M)
        if allowed and taken:
            yield int(allowed[1]) - 1024 * int(taken[1])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
