"""How much memory there is, and what it looks like when there isn't enough."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

GROUPS = {
    "cgroup2": (("memory.max", "memory.high"), "memory.current", "inactive_file"),
    "cgroup": (("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
}
"""Files of a control group, by its file system (versions 2 and 1): its limits, its use of memory, and the field of
memory.stat for files in memory that can be dropped."""

LIMITS = {"Max address space": "VmSize", "Max data size": "VmData"}
"""What `ulimit` limits, as Linux names it, and how much of it a process has taken."""

NO_GRAPH = (0, 0)
"""PyTorch's name of the pool of memory that no CUDA graph has for itself."""

# PyTorch's allocator, our C++ kernels, oneDNN, cuBLAS, cuDNN, CUDA and Triton: each has its own words, and the same
# type as for all its errors.
_OUT_OF_MEMORY = re.compile(
    "DefaultCPUAllocator|^std::bad_alloc$|^dasr_fast_cpp: out of memory|^could not create a primitive$"
    "|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    r"|CUDA error: out of memory|CUDA: out of memory|Triton Error \[CUDA\]: out of memory"
)


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where the system doesn't tell.

    On an NVIDIA GPU what PyTorch keeps for later counts as free, without what CUDA graphs hold. On a CPU see
    `available_memory`.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + _kept_by_pytorch(device)
    if device.type == "cpu":
        return available_memory()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory couldn't be had, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


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


def _kept_by_pytorch(device: torch.device) -> int:
    """Bytes that PyTorch's allocator has and no tensor and no CUDA graph."""
    if torch.cuda.get_allocator_backend() != "native":
        return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in segments
        if segment["device"] == index and tuple(segment["segment_pool_id"]) == NO_GRAPH
    )
