"""Machine code of Triton kernels for any NVIDIA GPU, compiled and inspected without one."""

import ast
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any

import pytest
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

Capability = tuple[int, int]
Launch = Callable[[JITFunction, tuple[Any, ...], dict[str, Any]], Any]

SHARED_MEMORY = {(8, 0): 163, (8, 6): 99, (8, 9): 99, (9, 0): 227, (10, 0): 227, (12, 0): 99}
"""KiB of shared memory that a block can have, by compute capability (CUDA C++ Programming Guide)."""


@dataclass(frozen=True)
class MachineCode:
    """What a launch needs of the GPU.

    Attributes:
        kernel: Module and function.
        registers: Of a thread.
        stack: Bytes of a thread in local memory.
        local: Loads from and stores to local memory.
        shared: Bytes of a block in shared memory.
        warps: Of a block.
    """

    kernel: str
    registers: int
    stack: int
    local: int
    shared: int
    warps: int


def obstacle() -> str | None:
    """Why nothing can be compiled here, or None."""
    if triton.knobs.runtime.interpret:
        return "Triton interprets its kernels"
    try:
        return None if triton.knobs.nvidia.cuobjdump.path else "there is no cuobjdump"
    except RuntimeError as error:
        return str(error)


@contextmanager
def launches(launch: Launch) -> Iterator[None]:
    """Call `launch(kernel, arguments, options)` for every launch of a kernel, and launch nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JITFunction, "run", lambda kernel, *arguments, **options: launch(kernel, arguments, options))
        yield


def machine_code(calls: Iterable[Callable[[], Any]], capability: Capability) -> list[list[MachineCode]]:
    """Compile the launches in each call, on tensors of the meta device, for a GPU of that compute capability.

    Each kernel is compiled once, on all cores.
    """
    run = JITFunction.run
    compiled: list[list[Any]] = []

    def compile_only(kernel: JITFunction, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        name = f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}"
        compiled[-1].append((name, run(kernel, *arguments, **{**options, "warmup": True})))

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(os.cpu_count()) as pool:
        patch.setattr(driver, "_active", _AbsentGPU(capability))
        patch.setattr(ast, "parse", _parse)
        with triton.AsyncCompileMode(pool, ignore_errors=True), launches(compile_only):
            for call in calls:
                compiled.append([])
                call()
    return [[MachineCode(name, **_resources(_finished(kernel))) for name, kernel in kernels] for kernels in compiled]


def _finished(kernel: Any) -> CompiledKernel:
    """A compiled kernel, or the error of one that could not be compiled."""
    return kernel if isinstance(kernel, CompiledKernel) else kernel.result()


_parsing = Lock()
_parse_alone = ast.parse


def _parse(*arguments: Any, **options: Any) -> ast.AST:
    """`ast.parse` in one thread at a time: CPython 3.11 counts its recursion over all of them, and fails."""
    with _parsing:
        return _parse_alone(*arguments, **options)


class _AbsentGPU:
    """Triton's driver of a GPU that isn't there."""

    def __init__(self, capability: Capability) -> None:
        self.architecture = 10 * capability[0] + capability[1]

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> str:
        return f"sm_{self.architecture}"  # Triton keeps kernels by device.

    def get_current_stream(self, device: str) -> int:
        return 0


@cache
def _resources(kernel: CompiledKernel) -> dict[str, int]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", "-sass", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", text)[0]
    return {
        "registers": int(registers),
        "stack": int(stack),
        "local": len(re.findall(r"\b(?:LDL|STL)\b", text)),
        "shared": kernel.metadata.shared,
        "warps": kernel.metadata.num_warps,
    }
