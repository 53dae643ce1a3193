from pathlib import Path

import pytest

from dasr_fast.memory import available_memory

MEMINFO = "MemTotal:       24000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"


def machine(root: Path, **files: str) -> Path:
    """A folder with the files that tell of memory."""
    for name, text in files.items():
        path = root / {"meminfo": "proc/meminfo"}.get(name, f"sys/fs/cgroup/memory.{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_what_linux_calls_available(tmp_path: Path):
    assert available_memory(machine(tmp_path, meminfo=MEMINFO)) == 8_000_000 * 1024


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [("5000\n", "2000\n", 3000), ("5000\n", "7000\n", 0), ("max\n", "2000\n", 8_000_000 * 1024)],
)
def test_what_a_container_allows(tmp_path: Path, limit: str, used: str, left: int):
    assert available_memory(machine(tmp_path, meminfo=MEMINFO, max=limit, current=used)) == left


def test_files_in_memory_count_as_free(tmp_path: Path):
    stat = "anon 1000\ninactive_file 500\nactive_file 70\n"
    assert available_memory(machine(tmp_path, max="5000\n", current="2000\n", stat=stat)) == 3500


def test_what_an_old_container_allows(tmp_path: Path):
    folder = machine(tmp_path, meminfo=MEMINFO) / "sys/fs/cgroup/memory"
    folder.mkdir(parents=True)
    (folder / "memory.limit_in_bytes").write_text("6000\n")
    (folder / "memory.usage_in_bytes").write_text("1000\n")
    (folder / "memory.stat").write_text("inactive_file 1\ntotal_inactive_file 20\n")
    assert available_memory(tmp_path) == 5020


def test_a_system_that_does_not_tell(tmp_path: Path):
    assert available_memory(tmp_path) is None
