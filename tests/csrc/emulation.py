"""CUDA kernels on a CPU: builds the emulation in `emulation/` with an op's kernels, and runs them on torch tensors.

`load` gives the Python modules of the backend "cuda", which find the emulation where the compiled library would be.
"""

import fcntl
import functools
import importlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from dasr_fast.build.command import run_ninja
from dasr_fast.compiled.schemas import SCHEMAS
from dasr_fast.reference.layout import memory_format

ROOT = Path(__file__).parents[2]
SOURCES = Path(__file__).with_name("emulation")
INCLUDED_FROM = (SOURCES, ROOT / "csrc/cuda", ROOT)
COMMON = ("block", "fragments", "driver")
BUILT = ROOT / "build/emulation"
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
COMPILER = ("g++", "-std=c++17", "-O1", "-g1", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", *SANITIZERS)


class EmulationError(RuntimeError):
    """A kernel did something wrong; the message says what."""


def emulate(op: str, *, seeds: int = 3, **arguments: Tensor | float | str | None) -> None:
    """Run an op of `emulation/run_*.cpp`; it writes into the tensors, as the compiled op on a GPU does.

    Args:
        op: Name of the op in its file, whose name is the longest that `op` begins with.
        seeds: How many orders of threads to try; all must give the same bits.
        arguments: Dense tensors (also of a misaligned storage offset), numbers and text, by name; None is left out.
            `multiprocessors` and `most_shared_memory` (bytes a block) change the emulated GPU.

    Raises:
        EmulationError: A race, a diverging barrier, memory that isn't the kernel's, or a misaligned access.
    """
    tensors = {name: value for name, value in arguments.items() if isinstance(value, Tensor)}
    sources = [path for path in SOURCES.glob("run_*.cpp") if op.startswith(path.stem.removeprefix("run_"))]
    command = [str(_executable(max(sources, key=lambda path: len(path.stem)))), op, f"seeds={seeds}"]
    with tempfile.TemporaryDirectory() as folder:
        for name, value in arguments.items():
            if isinstance(value, Tensor):
                path = Path(folder) / name
                path.write_bytes(_bytes(value).numpy().tobytes())
                command.append(f"{name}@{_description(value)}:{path}")
            elif value is not None:
                command.append(f"{name}={int(value) if isinstance(value, bool) else value}")
        environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0"}
        finished = subprocess.run(command, capture_output=True, text=True, env=environment)
        if finished.returncode != 0:
            raise EmulationError(f"{op} ended with {finished.returncode}:\n{finished.stderr}")
        for name, tensor in tensors.items():
            if tensor.numel() == 0:
                continue
            _bytes(tensor).copy_(torch.frombuffer(bytearray((Path(folder) / name).read_bytes()), dtype=torch.uint8))


def _bytes(tensor: Tensor) -> Tensor:
    """The memory of a dense tensor."""
    if tensor.numel() == 0:
        return torch.empty(0, dtype=torch.uint8)
    flat = tensor.as_strided((tensor.numel(),), (1,))
    assert tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last)
    return flat.view(torch.uint8)


def _description(tensor: Tensor) -> str:
    sizes = ",".join(map(str, tensor.shape))
    channels_last = tensor.dim() == 4 and memory_format(tensor) == torch.channels_last
    return f"{str(tensor.dtype).removeprefix('torch.')}:{sizes}:{int(channels_last)}:{tensor.data_ptr() % 16}"


NINJA = """
rule compile
  command = {compile} -MD -MF $out.d -c $in -o $out
  depfile = $out.d
  deps = gcc
rule link
  command = {link} $in -o $out
"""


@functools.cache
def _executable(source: Path) -> Path:
    """The driver with the kernels that `source` runs, up to date."""
    if shutil.which("g++") is None:
        pytest.skip("there is no g++")
    folders = (f"-isystem{Path(torch.__file__).parent / 'include'}", *(f"-iquote{folder}" for folder in INCLUDED_FROM))
    recipe = NINJA.format(compile=shlex.join((*COMPILER, *folders)), link=shlex.join(COMPILER))
    common = " ".join(f"{name}.o" for name in COMMON)
    for path in sorted(SOURCES.glob("*.cpp")):
        recipe += f"build {path.stem}.o: compile {str(path).replace(' ', '$ ')}\n"
        recipe += f"build {path.stem}: link {common} {path.stem}.o\n" if path.stem.startswith("run_") else ""
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (BUILT / "build.ninja").write_text(recipe)
        run_ninja(BUILT, source.stem, verbose=False)
    return BUILT / source.stem


PACKAGE = "dasr_fast.compiled.cuda"


class EmulatedLibrary:
    """The raw ops, with the arguments that their schemas name; `options` go to the emulation."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        parsed = [torch._C.parse_schema(schema) for schema in SCHEMAS["cuda"]]
        self.arguments = {schema.name: [argument.name for argument in schema.arguments] for schema in parsed}

    def __getattr__(self, name: str) -> Any:
        def run(*values: Any) -> None:
            emulate(name, **dict(zip(self.arguments[name], values, strict=True)), **self.options)

        return run


def load(op: str, parts: int | None = None, **options: Any) -> Any:
    """The module `dasr_fast.compiled.cuda.<op>` and those that it imports, on an emulated GPU; its `cuda` emulates.

    `parts` is into how many each sum is cut, if not as many as the modules choose.
    """
    library = ModuleType("dasr_fast.build.library")
    library.cuda = EmulatedLibrary(**options)  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, library.__name__, library)
        for name in _loaded():
            patch.delitem(sys.modules, name)
        module = importlib.import_module(f"{PACKAGE}.{op}")
        for name in _loaded():
            loaded = sys.modules.pop(name)
            if parts is not None and hasattr(loaded, "parts"):
                loaded.parts = lambda *_: parts  # type: ignore[attr-defined]
    return module


def _loaded() -> list[str]:
    return [name for name in sys.modules if name.startswith(f"{PACKAGE}.")]


def misaligned(x: Tensor) -> Tensor:
    """The same values and layout, one element behind an address that is a multiple of 16."""
    last = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    dense = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    memory = torch.empty(x.numel() + 1, dtype=x.dtype)
    return memory.as_strided(dense.shape, dense.stride(), 1).copy_(x)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x,
    "misaligned": lambda x: misaligned(x.contiguous()),
    "misaligned channels-last": lambda x: misaligned(LAYOUTS["channels-last"](x)),
    "sliced": lambda x: torch.nn.functional.pad(x, (1, 2), value=torch.nan)[..., 1:-2],
}

VARIANTS = [
    *((torch.float32, layout) for layout in ("contiguous", "channels-last")),
    *((torch.float16, layout) for layout in LAYOUTS),
    (torch.bfloat16, "channels-last"),
]
"""Types and layouts that reach all code."""
