"""What this machine can compile csrc with: PyTorch's headers, a C++ compiler, CUDA's nvcc."""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dasr_fast.build.record import COMMAND

AVX512 = "-mavx512f -mavx512bw -mavx512vl -mavx512dq -mfma -mf16c -mavx2"
INSTRUCTION_SETS = {
    "amx": f"{AVX512} -mavx512bf16 -mamx-tile -mamx-bf16",
    "avx512": AVX512,
    "avx2": "-mavx2 -mfma -mf16c",
    "baseline": "",
}
"""What each needs on x86-64; other processors have their baseline alone, which for 64-bit ARM includes NEON."""

OLDEST_TORCH = (2, 11)
DEFAULT_ARCHITECTURES = "8.0;8.6;9.0+PTX"


class CannotBuild(Exception):
    """Something is missing or fails; the message is one sentence without a full stop."""


@dataclass(frozen=True)
class Torch:
    """The installed PyTorch; `cuda` is the version that it was built for, or None."""

    folder: Path
    version: str
    cuda: str | None


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler: its command, what it says it is, and the instruction sets that it can compile for."""

    command: list[str]
    version: str
    instruction_sets: list[str]


@dataclass(frozen=True)
class Nvcc:
    """CUDA's compiler: its command, and the version of CUDA."""

    command: list[str]
    version: str


def find_torch() -> Torch:
    """The PyTorch of this environment, looked up and not imported, which would take seconds.

    Raises:
        CannotBuild: There is none, or it is too old.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise CannotBuild(f"PyTorch was not installed yet, or the installer hid it: run {COMMAND}")
    folder = Path(spec.origin).parent
    facts: dict[str, Any] = {}
    exec((folder / "version.py").read_text(), facts)
    version = facts["__version__"]
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < OLDEST_TORCH:
        raise CannotBuild(f"PyTorch {version} is older than {OLDEST_TORCH[0]}.{OLDEST_TORCH[1]}")
    return Torch(folder, version, facts.get("cuda"))


def find_compiler() -> Compiler:
    """The C++ compiler: $CXX, or g++, c++ or clang++; on Windows clang++, for MSVC lacks the vectors of both.

    Raises:
        CannotBuild: There is none, or it doesn't work.
    """
    known = ("clang++",) if sys.platform == "win32" else ("g++", "c++", "clang++")
    found = os.environ.get("CXX") or next(filter(shutil.which, known), None)
    if found is None:
        raise CannotBuild(f"no C++ compiler was found: install {known[0]} or set CXX, then run {COMMAND}")
    command = shlex.split(found)
    try:
        target, version = (_said([*command, option]) for option in ("-dumpmachine", "--version"))
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"the C++ compiler {found} does not work: {_first_line(error)}") from error
    names = list(INSTRUCTION_SETS) if target.startswith(("x86_64", "amd64")) else ["baseline"]
    accepted = [name for name in names if _accepts(command, INSTRUCTION_SETS[name])]
    if not accepted:
        raise CannotBuild(f"the C++ compiler {found} does not compile an empty file")
    return Compiler(command, version.splitlines()[0], accepted)


def find_nvcc() -> Nvcc:
    """CUDA's compiler: in $CUDA_HOME, $CUDA_PATH, $PATH or /usr/local/cuda.

    Raises:
        CannotBuild: There is none, or it doesn't work.
    """
    homes = filter(None, map(os.environ.get, ("CUDA_HOME", "CUDA_PATH")))
    candidates = [*(f"{home}/bin/nvcc" for home in homes), "nvcc", "/usr/local/cuda/bin/nvcc"]
    found = next(filter(None, map(shutil.which, candidates)), None)
    if found is None:
        raise CannotBuild("nvcc was not found in CUDA_HOME, CUDA_PATH, PATH or /usr/local/cuda")
    try:
        release = re.search(r"release (\d+\.\d+)", _said([found, "--version"]))
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"{found} does not work: {_first_line(error)}") from error
    if release is None:
        raise CannotBuild(f"{found} does not say its version")
    host = ["-ccbin", os.environ["CXX"]] if os.environ.get("CXX") else []
    return Nvcc([found, *host], release[1])


def match(nvcc: Nvcc, torch: Torch) -> None:
    """Check that what nvcc compiles can run in this PyTorch.

    Raises:
        CannotBuild: They are for different major versions of CUDA.
    """
    if torch.cuda is None or nvcc.version.split(".")[0] != torch.cuda.split(".")[0]:
        raise CannotBuild(f"nvcc is of CUDA {nvcc.version}, and PyTorch {torch.version} of CUDA {torch.cuda}")


def architectures() -> str:
    """Those of GPUs to compile for: $TORCH_CUDA_ARCH_LIST, or the default."""
    return os.environ.get("TORCH_CUDA_ARCH_LIST", "").strip() or DEFAULT_ARCHITECTURES


def architecture_flags(asked: str) -> list[str]:
    """nvcc's options for architectures in torch's syntax, such as "8.0;8.6;9.0+PTX" or "9.0a 12.0".

    Raises:
        CannotBuild: That is not the syntax.
    """
    flags = []
    for architecture in re.split(r"[;,\s]+", asked.strip("; ")):
        parts = re.fullmatch(r"(\d+)\.(\d[af]?)(\+PTX)?", architecture)
        if parts is None:
            raise CannotBuild(f'TORCH_CUDA_ARCH_LIST must be like "{DEFAULT_ARCHITECTURES}", and is "{asked}"')
        number = parts[1] + parts[2]
        codes = [f"sm_{number}", f"compute_{number}"] if parts[3] else [f"sm_{number}"]
        flags += [f"-gencode=arch=compute_{number},code={code}" for code in codes]
    return flags


def _accepts(command: list[str], flags: str) -> bool:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "empty.cpp")
        source.touch()
        tried = [*command, *flags.split(), "-c", str(source), "-o", str(source.with_suffix(".o"))]
        return subprocess.run(tried, capture_output=True).returncode == 0


def _said(command: list[str]) -> str:
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout.strip() or "unknown"


def _first_line(error: Exception) -> str:
    said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return (said or str(error)).splitlines()[0]
