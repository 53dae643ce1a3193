"""What CUDA's assembler says of the kernels in a .cu file: compiled for a GPU that need not be there."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from dasr_fast.build.recipe import nvcc_command
from dasr_fast.build.toolchain import CannotBuild, architecture_flags, find_nvcc, find_torch

NUMBERS = {
    "stack": r"(\d+) bytes stack frame",
    "stores": r"(\d+) bytes spill stores",
    "loads": r"(\d+) bytes spill loads",
    "registers": r"Used (\d+) registers",
    "shared": r"(\d+) bytes smem",
}


@dataclass(frozen=True)
class Resources:
    """What a thread block of a kernel needs.

    Attributes:
        kernel: Name with template arguments.
        registers: Of a thread.
        stack: Bytes of a thread in local memory, for arrays and for what was spilled.
        spilled: Bytes stored to and loaded from local memory for want of registers.
        shared: Bytes of shared memory whose size is fixed, for the block.
    """

    kernel: str
    registers: int
    stack: int
    spilled: int
    shared: int

    @property
    def name(self) -> str:
        """The kernel's name alone."""
        return re.sub(r"^.*?(\w+)[<(].*$", r"\1", self.kernel.replace("(anonymous namespace)::", ""))


def obstacle() -> str | None:
    """Why nothing can be compiled here, or None."""
    try:
        find_nvcc()
        find_torch()
    except CannotBuild as error:
        return str(error)
    return None


def compile_kernels(source: Path, csrc: Path, architecture: str, scratch: Path) -> list[Resources]:
    """Compile the kernels of a file for an architecture such as "9.0a" into the folder `scratch`.

    Raises:
        RuntimeError: They can't be compiled, or not so that products of warpgroups overlap.
    """
    command = nvcc_command(find_nvcc(), csrc, find_torch())
    (flag,) = architecture_flags(architecture)
    output = ["-Xptxas", "-v", "-cubin", "-o", str(scratch / f"{source.stem}-{architecture}.cubin"), str(source)]
    done = subprocess.run([*command, flag, *output], text=True, capture_output=True)
    if done.returncode or "instructions are serialized" in done.stderr:
        raise RuntimeError(done.stdout + done.stderr)
    return read(done.stderr)


def read(messages: str) -> list[Resources]:
    """The kernels in the messages of `ptxas -v`."""
    kernels = []
    for message in re.split(r"Compiling entry function '", messages)[1:]:
        name, _, rest = message.partition("'")
        found = {key: re.search(pattern, rest) for key, pattern in NUMBERS.items()}
        number = {key: int(match[1]) if match else 0 for key, match in found.items()}
        spilled = number["stores"] + number["loads"]
        kernels.append(Resources(demangled(name), number["registers"], number["stack"], spilled, number["shared"]))
    return kernels


def demangled(name: str) -> str:
    """A C++ name as in the source, or as it is where binutils are not installed."""
    filt = shutil.which("c++filt")
    return subprocess.run([filt, name], text=True, capture_output=True).stdout.strip() if filt else name
