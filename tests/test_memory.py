from pathlib import Path

import pytest
import torch
from processes import printed
from torch import Tensor

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.memory import available_memory, free_memory, is_out_of_memory

MEMINFO = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
AVAILABLE = 8_000_000 * 1024
MOUNTED = (
    "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755\n"
    "35 31 0:32 {top} /sys/fs/cgroup/memory rw,relatime shared:15 - cgroup cgroup rw,memory\n"
    "41 31 0:38 {top} /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
OLD = "/sys/fs/cgroup/memory"
NEW = "/sys/fs/cgroup/unified"
NEW_STAT = "anon 1000\ninactive_file 500\nactive_file 70\n"
OLD_STAT = "inactive_file 1\ntotal_inactive_file 20\n"


def machine(root: Path, own: str = "/", top: str = "/", **groups: dict[str, str]) -> Path:
    """A folder with the files that tell of memory.

    Args:
        root: The folder.
        own: The process's control group.
        top: The one that is mounted.
        groups: Files of control groups, by their folders below `root`.
    """
    files = {
        "proc/meminfo": MEMINFO,
        "proc/self/cgroup": f"9:name=systemd:/\n4:cpuset,memory:{own}\n0::{own}\n",
        "proc/self/mountinfo": MOUNTED.format(top=top),
    }
    files |= {f"{folder}/memory.{name}": text for folder, names in groups.items() for name, text in names.items()}
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("groups", "left"),
    [
        ({}, AVAILABLE),
        ({NEW: {"max": "5000\n", "current": "2000\n"}}, 3000),
        ({NEW: {"max": "5000\n", "current": "7000\n"}}, 0),
        ({NEW: {"max": "max\n", "high": "max\n", "current": "2000\n"}}, AVAILABLE),
        ({NEW: {"max": "5000\n", "high": "4000\n", "current": "2000\n"}}, 2000),
        ({NEW: {"max": "max\n", "high": "4000\n", "current": "2000\n"}}, 2000),
        # Files in memory count as free.
        ({NEW: {"max": "5000\n", "current": "2000\n", "stat": NEW_STAT}}, 3500),
        ({OLD: {"limit_in_bytes": "6000\n", "usage_in_bytes": "1000\n", "stat": OLD_STAT}}, 5020),
    ],
)
def test_what_a_container_allows(tmp_path: Path, groups: dict[str, dict[str, str]], left: int):
    assert available_memory(machine(tmp_path, **groups)) == left


@pytest.mark.parametrize("limited", ["", "/user", "/user/app", "/user/app/child"])
@pytest.mark.parametrize("version", [NEW, OLD])
def test_every_group_around_the_process_counts(tmp_path: Path, version: str, limited: str):
    limit, used = ("max", "current") if version == NEW else ("limit_in_bytes", "usage_in_bytes")
    groups = {version + group: {limit: "9000\n", used: "100\n"} for group in ("/user", "/user/app", "/other")}
    groups[f"{version}/other"][limit] = "101\n"  # Another's, which doesn't matter.
    groups[version + limited] = {limit: "5000\n", used: "2000\n"}
    expected = 3000 if limited != "/user/app/child" else 8900
    assert available_memory(machine(tmp_path, "/user/app", **groups)) == expected


@pytest.mark.parametrize(("own", "below"), [("/docker/1f", ""), ("/docker/1f/child", "/child"), ("/elsewhere", "")])
def test_a_container_that_sees_its_own_group_alone(tmp_path: Path, own: str, below: str):
    groups = {OLD: {"limit_in_bytes": "9000\n", "usage_in_bytes": "100\n"}}
    groups[OLD + below] = {"limit_in_bytes": "5000\n", "usage_in_bytes": "2000\n"}
    assert available_memory(machine(tmp_path, own, "/docker/1f", **groups)) == 3000


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("Max address space         900000000            unlimited", 900_000_000 - 200_000 * 1024),
        ("Max data size             900000000            900000000", 900_000_000 - 100_000 * 1024),
        ("Max address space         unlimited            unlimited", AVAILABLE),
    ],
)
def test_limits_of_the_process(tmp_path: Path, limit: str, left: int):
    root = machine(tmp_path)
    (root / "proc/self/limits").write_text(
        f"Limit                     Soft Limit           Hard Limit           Units\n{limit} bytes\n"
    )
    (root / "proc/self/status").write_text("Name:\tpython\nVmSize:\t  200000 kB\nVmData:\t  100000 kB\n")
    assert available_memory(root) == left


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="Linux alone tells")
def test_a_limit_of_this_process():
    program = """
import resource
import torch
from dasr_fast.memory import free_memory
taken = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (1024 * taken + 2**28, -1))
print(free_memory(torch.device("cpu")))
"""
    assert 2**27 < int(printed("-c", program)) <= 2**28


def test_what_nobody_tells(tmp_path: Path):
    assert available_memory(tmp_path) is None
    assert free_memory(torch.device("meta")) is None


def test_what_cuda_graphs_hold_is_not_free(monkeypatch: pytest.MonkeyPatch):
    """With PyTorch's answers as documented; the second segment is a graph's, the last one another GPU's."""
    names = ("device", "segment_pool_id", "total_size", "allocated_size")
    rows = ((1, (0, 0), 500, 300), (1, (0, 7), 4000, 100), (1, (0, 0), 60, 0), (0, (0, 0), 9000, 0))
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: [dict(zip(names, row, strict=True)) for row in rows])
    assert free_memory(torch.device("cuda", 1)) == 10_000 + 200 + 60


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_what_cuda_graphs_hold_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    def function(x: Tensor) -> Tensor:
        return (x + 1).sin() * 2

    def without_others(device: torch.device) -> tuple[int, int]:  # Who may be using the GPU, too.
        return 2**40 - torch.cuda.memory_reserved(device), 2**40

    monkeypatch.setattr(torch.cuda, "mem_get_info", without_others)
    device, x = torch.device("cuda", torch.cuda.current_device()), torch.ones(2**24, device="cuda")
    torch.cuda.empty_cache()
    before = free_memory(device) or 0
    capture: CudaCapture[Tensor] = CudaCapture()
    graph = capture(function, x)
    after = free_memory(device) or 0
    # Its buffer, its result and what was between.
    assert before - after >= 3 * x.nbytes
    del graph
    torch.cuda.empty_cache()
    assert before - (free_memory(device) or 0) < x.nbytes


def test_out_of_memory_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert is_out_of_memory(RuntimeError("dasr_fast_cpp: out of memory: 64 bytes can't be had."))
    for words in ("CUDA error: out of memory", "CUDA: out of memory", "Triton Error [CUDA]: out of memory"):
        assert is_out_of_memory(RuntimeError(f"{words}\nand more"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2, 3) @ torch.empty(2, 3)
    assert not is_out_of_memory(caught.value)
