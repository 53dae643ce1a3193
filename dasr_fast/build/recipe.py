"""How csrc becomes a library: the commands, and the build.ninja that holds them.

Every file of csrc/cpp is compiled once for each instruction set and once as the binding to torch, so that one library
runs on every processor and takes the best that it has.
"""

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from dasr_fast.build.record import LIBRARY
from dasr_fast.build.toolchain import (
    INSTRUCTION_SETS,
    CannotBuild,
    Compiler,
    Nvcc,
    Torch,
    architecture_flags,
    architectures,
    find_compiler,
    find_nvcc,
    match,
)

STABLE_ABI = "-DTORCH_TARGET_VERSION=0x020a000000000000"
WINDOWS = sys.platform == "win32"
LANGUAGE = ["-std=c++17", "-O3"]
CXX_FLAGS = [
    *(*LANGUAGE, *([] if WINDOWS else ["-fPIC"]), "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno"),
    *("-Wall", "-Wextra"),
]
NVCC_FLAGS = [*LANGUAGE, "-DUSE_CUDA", STABLE_ABI, "--threads", "1", "-Xcompiler", "-fPIC,-fvisibility=hidden"]
DEPENDENCIES = "-MD -MF $out.d -c $in -o $out"
command_line = subprocess.list2cmdline if WINDOWS else shlex.join
SOURCES = {"cpp": "*.cpp", "cuda": "*.cu"}
"""What is compiled for each part of the library."""


@dataclass
class Recipe:
    """The parts of the library that can be built, and with what; `find` adds them.

    Attributes:
        csrc: The sources.
        torch: What to build for.
        compiler: That of the part "cpp", if it can be built.
        nvcc: That of the part "cuda", if it can be built.
    """

    csrc: Path
    torch: Torch
    compiler: Compiler | None = None
    nvcc: Nvcc | None = None

    def sources(self, part: str) -> list[Path]:
        """The files of a part that are compiled."""
        return sorted((self.csrc / part).glob(SOURCES[part]))

    def find(self, part: str) -> None:
        """Find what a part is compiled with.

        Raises:
            CannotBuild: It isn't there; the message says what.
        """
        if not self.sources(part):
            raise CannotBuild(f"csrc/{part} has nothing to compile")
        if part == "cpp":
            self.compiler = find_compiler()
            return
        if self.torch.cuda is None:
            raise CannotBuild(f"PyTorch {self.torch.version} is not built for CUDA")
        architecture_flags(architectures())
        nvcc = find_nvcc()
        match(nvcc, self.torch)
        self.nvcc = nvcc

    def write(self, folder: Path) -> None:
        """Write `folder`/build.ninja with the targets "cpp", "cuda" and `target(parts)`."""
        from ninja import ninja_syntax

        text = StringIO()
        writer: Any = ninja_syntax.Writer(text, width=10**6)  # type: ignore[arg-type]
        cache = command_line(filter(None, [shutil.which("ccache")]))
        cpp = self._cpp(writer, cache, self.compiler) if self.compiler else []
        cuda = self._cuda(writer, cache, self.nvcc) if self.nvcc else []
        writer.build("cpp", "phony", cpp)
        writer.build("cuda", "phony", cuda)
        if self.compiler:
            self._link(writer, ["cpp"], cpp, link_command(self.compiler))
        if self.nvcc:
            self._link(writer, ["cuda"], cuda, link_command(self.nvcc))
        if self.compiler and self.nvcc:
            self._link(writer, ["cpp", "cuda"], cpp + cuda, link_command(self.nvcc))
        (folder / "build.ninja").write_text(text.getvalue())

    def _cpp(self, writer: Any, cache: str, compiler: Compiler) -> list[str]:
        command = command_line([*compiler.command, *CXX_FLAGS, *extra_flags(), "-I", str(self.csrc)])
        writer.rule("cxx", f"{cache} {command} $flags {DEPENDENCIES}", depfile="$out.d", deps="gcc")
        built = compiler.instruction_sets
        flags = {name: f"-DDASR_FAST_KERNELS={name} {INSTRUCTION_SETS[name]}" for name in built}
        flags["binding"] = command_line(
            [*(f"-DDASR_FAST_HAS_{name}" for name in built), STABLE_ABI, *headers(self.torch)]
        )
        objects = []
        for source in self.sources("cpp"):
            for variant in flags:
                objects.append(f"cpp/{source.stem}.{variant}.o")
                writer.build(objects[-1], "cxx", str(source), variables={"flags": flags[variant]})
        return objects

    def _cuda(self, writer: Any, cache: str, nvcc: Nvcc) -> list[str]:
        command = [*nvcc_command(nvcc, self.csrc, self.torch), *architecture_flags(architectures())]
        writer.rule("nvcc", f"{cache} {command_line(command)} {DEPENDENCIES}", depfile="$out.d", deps="gcc")
        objects = []
        for source in self.sources("cuda"):
            objects.append(f"cuda/{source.stem}.o")
            writer.build(objects[-1], "nvcc", str(source))
        return objects

    def _link(self, writer: Any, parts: list[str], objects: list[str], command: list[str]) -> None:
        libraries = ["torch_cuda", "c10_cuda"] if "cuda" in parts else []
        names = [f"-l{name}" for name in (*libraries, "torch_cpu", "c10")]
        rule = f"link-{'-'.join(parts)}"
        where = command_line(["-L", str(self.torch.folder / "lib"), *names])
        writer.rule(rule, f"{command_line(command)} $in -o $out {where}")
        writer.build(target(parts), rule, objects)


def target(parts: list[str]) -> str:
    """Name of the library of these parts, relative to the folder of build.ninja."""
    return f"{'-'.join(parts)}/{LIBRARY}"


def extra_flags() -> list[str]:
    """Those of $CXXFLAGS, for compiling and linking C++."""
    return shlex.split(os.environ.get("CXXFLAGS", ""))


def headers(torch: Torch) -> list[str]:
    """The option for PyTorch's headers, as those of a system, whose warnings are not ours."""
    return ["-isystem", str(torch.folder / "include")]


def nvcc_command(nvcc: Nvcc, csrc: Path, torch: Torch) -> list[str]:
    """How a .cu file is compiled, less architectures, input and output."""
    return [*nvcc.command, *NVCC_FLAGS, "-I", str(csrc), *headers(torch)]


def link_command(compiler: Compiler | Nvcc) -> list[str]:
    """How objects are linked, less input, output and libraries; what stays undefined is an error where it can be."""
    if isinstance(compiler, Nvcc):
        return [*compiler.command, "-shared", "-cudart", "static", "-Xlinker", "-z,defs"]
    if WINDOWS:  # The functions that ask the processor are in compiler-rt, which clang doesn't link there by itself.
        return [*compiler.command, *extra_flags(), "-shared", "--rtlib=compiler-rt"]
    complete = ["-Wl,-z,defs"] if sys.platform == "linux" and "-fsanitize" not in shlex.join(extra_flags()) else []
    return [*compiler.command, *extra_flags(), "-shared", *complete]
