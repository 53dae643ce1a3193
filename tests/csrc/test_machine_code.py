"""Every CUDA kernel, compiled for GPUs without having one, keeps its values in registers."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from dasr_fast.build import record
from dasr_fast.build.recipe import nvcc_command
from dasr_fast.build.toolchain import CannotBuild, architecture_flags, find_nvcc, find_torch

SHARED_MEMORY = 48 * 1024
"""Bytes of fixed size that a block may have on every GPU."""

CSRC = record.sources()
SOURCES = sorted((CSRC / "cuda").glob("*.cu")) if CSRC else []
NUMBERS = {
    "stack": r"(\d+) bytes stack frame",
    "stores": r"(\d+) bytes spill stores",
    "loads": r"(\d+) bytes spill loads",
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
}
"""What `ptxas -v` says of a kernel."""


def obstacle() -> str | None:
    """Why nothing can be compiled here, or None."""
    try:
        find_nvcc()
        find_torch()
    except CannotBuild as error:
        return str(error)
    return None


@pytest.mark.slow
@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
@pytest.mark.parametrize("architecture", ["8.0", "9.0"])
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_spilled(source: Path, architecture: str, tmp_path: Path):
    assert CSRC is not None
    command = [*nvcc_command(find_nvcc(), CSRC, find_torch()), *architecture_flags(architecture)]
    output = ["-Xptxas", "-v", "-cubin", "-o", str(tmp_path / "a.cubin"), str(source)]
    done = subprocess.run([*command, *output], text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "instructions are serialized" not in done.stderr  # Products of warpgroups overlap.
    kernels = re.split(r"Compiling entry function '", done.stderr)[1:]
    assert kernels
    wrong = []
    for message in kernels:
        name, _, rest = message.partition("'")
        found = {key: re.search(pattern, rest) for key, pattern in NUMBERS.items()}
        number = {key: int(match[1]) if match else 0 for key, match in found.items()}
        if filt := shutil.which("c++filt"):
            name = subprocess.run([filt, name], text=True, capture_output=True).stdout.strip()
        print(f"{number['registers']:3} registers {number['shared']:6} bytes of shared memory: {name}")
        spilled = number["stack"] or number["stores"] or number["loads"]
        wrong += [f"{name}: {number}"] if spilled or number["shared"] > SHARED_MEMORY else []
    assert not wrong, "\n".join(wrong)
