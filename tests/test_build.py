"""The build of the compiled library: what it makes, and that whatever is missing only leaves a reason."""

import ctypes
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from processes import printed

import dasr_fast
from dasr_fast.build import record, toolchain
from dasr_fast.build.command import build, main
from dasr_fast.build.recipe import Recipe
from dasr_fast.build.toolchain import CannotBuild, Nvcc, Torch, architecture_flags, find_compiler, find_torch, match

SOURCE = """
#include "answer.h"
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#ifdef DASR_FAST_KERNELS
int JOIN(answer_, DASR_FAST_KERNELS)() { return ANSWER; }
#else
int answer_baseline();
extern "C" __attribute__((visibility("default"))) int answer() { return answer_baseline(); }
#endif
"""


def compiler_obstacle() -> str | None:
    try:
        find_compiler()
    except CannotBuild as error:
        return str(error)
    return None


needs_compiler = pytest.mark.skipif(compiler_obstacle() is not None, reason=str(compiler_obstacle()))


@pytest.fixture
def csrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Sources of a small library, which is what is built."""
    monkeypatch.setattr(record, "FOLDER", tmp_path / "project" / "dasr_fast" / "compiled")
    monkeypatch.delenv("CXX", raising=False)
    folder = tmp_path / "project" / "csrc"
    (folder / "cpp").mkdir(parents=True)
    (folder / "cpp" / "tiny.cpp").write_text(SOURCE)
    (folder / "cpp" / "answer.h").write_text("#define ANSWER 42")
    (folder.parent / "setup.py").touch()
    return folder


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "output"


def answer(output: Path, name: str) -> int:
    """What the library says; the loader keeps a library, so each is loaded under a name of its own."""
    copy = shutil.copy(record.require("cpp", output), output / name)
    return ctypes.CDLL(str(copy)).answer()


@needs_compiler
def test_what_changed_is_compiled_again(csrc: Path, output: Path):
    facts = build("cpp", output)
    assert facts == record.read(output)
    assert "baseline" in facts["instruction_sets"]
    assert answer(output, "first.so") == 42
    (objects,) = (csrc.parent / "build").glob("*/cpp")
    made = {path.name: path.stat().st_mtime_ns for path in objects.glob("*.o")}
    assert set(made) == {f"tiny.{variant}.o" for variant in (*facts["instruction_sets"], "binding")}
    build("cpp", output)
    assert {path.name: path.stat().st_mtime_ns for path in objects.glob("*.o")} == made
    (csrc / "cpp" / "answer.h").write_text("#define ANSWER 43")
    with pytest.raises(record.NotBuilt, match=r"older than csrc: run python -m dasr_fast\.build"):
        record.require("cpp", output)
    build("cpp", output)
    assert answer(output, "second.so") == 43


@needs_compiler
@pytest.mark.usefixtures("csrc")
def test_ccache_is_used(tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin" / "ccache", f'echo "$@" >> {tmp_path}/log; exec "$@"')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin", prepend=os.pathsep)
    build("cpp", output)
    assert len((tmp_path / "log").read_text().splitlines()) == len(record.read(output)["instruction_sets"]) + 1


def check_reason(output: Path, part: str, reason: str) -> None:
    """Nothing is there but the reason, and that is what a user is told."""
    assert not (output / record.LIBRARY).exists()
    assert reason in record.read(output)["parts"][part]
    with pytest.raises(record.NotBuilt) as told:
        record.require(part, output)
    assert reason in str(told.value)


def program(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@needs_compiler
@pytest.mark.skipif(sys.platform != "linux", reason="only linkers of Linux are asked to")
def test_a_function_that_is_nowhere(csrc: Path, output: Path):
    with (csrc / "cpp" / "tiny.cpp").open("a") as file:
        file.write('int nowhere(); extern "C" __attribute__((visibility("default"))) int f() { return nowhere(); }')
    build("auto", output)
    check_reason(output, "cpp", "nowhere")


@needs_compiler
def test_what_is_asked_for_by_name_must_be_built(csrc: Path, output: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["--what", "cpp", "--output", str(output)]) == 0
    assert "cpp   built for " in capsys.readouterr().out
    (csrc / "cpp" / "tiny.cpp").write_text("int broken( {")
    before = record.read(output)
    assert main(["--what", "cpp", "--output", str(output)]) == 1
    assert "tiny.cpp:1:" in capsys.readouterr().err
    assert record.read(output) == before
    assert (output / record.LIBRARY).exists()
    assert main(["--what", "auto", "--output", str(output)]) == 0
    assert "cpp   not built: " in capsys.readouterr().out
    check_reason(output, "cpp", "tiny.cpp:1:")


@needs_compiler
@pytest.mark.usefixtures("csrc")
def test_none_leaves_nothing_and_the_environment_may_choose_it(output: Path, monkeypatch: pytest.MonkeyPatch):
    build("cpp", output)
    monkeypatch.setenv("DASR_FAST_BUILD", "none")
    assert main(["--output", str(output)]) == 0
    for part in ("cpp", "cuda"):
        check_reason(output, part, "left out")
    monkeypatch.setenv("DASR_FAST_BUILD", "everything")
    with pytest.raises(SystemExit):
        main(["--output", str(output)])


def install(monkeypatch: pytest.MonkeyPatch, package: str, spec: ModuleSpec | None = None) -> None:
    """Have this package be found so, or not at all."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == package else found(name))


def install_torch(monkeypatch: pytest.MonkeyPatch, folder: Path, version: str, cuda: str) -> None:
    """Have a PyTorch of some version, without headers, be the one that is found."""
    folder.mkdir(exist_ok=True)
    (folder / "version.py").write_text(f"__version__ = {version!r}\ncuda = {cuda!r}\n")
    install(monkeypatch, "torch", ModuleSpec("torch", None, origin=str(folder / "__init__.py")))


def failing(script: str) -> Callable[[pytest.MonkeyPatch, Path], None]:
    """Makes a program of that script the compiler."""
    return lambda patch, folder: patch.setenv("CXX", program(folder / "compiler", script))


@pytest.mark.parametrize(
    ("prepare", "parts", "reason"),
    [
        (lambda patch, _: patch.setenv("PATH", ""), ["cpp"], "no C++ compiler was found: install g++ or set CXX"),
        (failing("exit 1"), ["cpp"], "compiler does not work"),
        (failing("echo 'licence expired' >&2; exit 1"), ["cpp"], "compiler does not work: licence expired"),
        (failing("case $1 in --*|-d*) echo x86_64;; *) exit 1;; esac"), ["cpp"], "does not compile an empty file"),
        (lambda patch, _: install(patch, "ninja"), ["cpp"], "ninja was not installed yet"),
        (lambda patch, _: install(patch, "torch"), ["cpp", "cuda"], "hid it: run python -m dasr_fast.build"),
        (lambda patch, folder: install_torch(patch, folder, "2.9.1+cu128", "12.8"), ["cpp"], "is older than 2.11"),
    ],
)
@pytest.mark.usefixtures("csrc")
def test_what_is_missing_is_the_reason(
    prepare: Any, parts: list[str], reason: str, tmp_path: Path, output: Path, monkeypatch: pytest.MonkeyPatch
):
    prepare(monkeypatch, tmp_path)
    build("auto", output)
    for part in parts:
        check_reason(output, part, reason)


@needs_compiler
def test_no_torch_any_more(csrc: Path, output: Path, monkeypatch: pytest.MonkeyPatch):
    facts = build("cpp", output)
    install(monkeypatch, "torch")
    assert (build("auto", output), answer(output, "kept.so")) == (facts, 42)
    (csrc / "cpp" / "answer.h").write_text("#define ANSWER 43")
    build("auto", output)
    check_reason(output, "cpp", "PyTorch was not installed yet")


def test_torch_is_found_without_importing_it():
    torch = pytest.importorskip("torch")
    assert find_torch() == Torch(Path(torch.__file__).parent, torch.__version__, torch.version.cuda)
    code = "import sys, dasr_fast.build.command; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_no_nvcc(tmp_path: Path, csrc: Path, output: Path, monkeypatch: pytest.MonkeyPatch):
    (csrc / "cuda").mkdir()
    (csrc / "cuda" / "tiny.cu").touch()
    install_torch(monkeypatch, tmp_path / "torch", "2.13.0+cu130", "13.0")
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "nvcc" in name else which(name))
    with pytest.raises(CannotBuild, match="nvcc was not found in CUDA_HOME, CUDA_PATH, PATH or /usr/local/cuda"):
        build("cuda", output)
    assert not list(output.iterdir())


def test_a_torch_without_cuda(csrc: Path):
    (csrc / "cuda").mkdir()
    (csrc / "cuda" / "tiny.cu").touch()
    with pytest.raises(CannotBuild, match=r"PyTorch 2\.13\.0\+cpu is not built for CUDA"):
        Recipe(csrc, Torch(csrc, "2.13.0+cpu", None)).find("cuda")


def test_an_nvcc_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    program(tmp_path / "bin" / "nvcc", "echo 'no libraries' >&2; exit 1")
    with pytest.raises(CannotBuild, match="does not work: no libraries"):
        toolchain.find_nvcc()
    program(tmp_path / "bin" / "nvcc", "echo 'Cuda compilation tools, release 12.9, V12.9.86'")
    assert toolchain.find_nvcc().version == "12.9"


def test_nvcc_must_be_of_torchs_major_version():
    torch = Torch(Path(), "2.13.0+cu130", "13.0")
    match(Nvcc([], "13.2"), torch)
    with pytest.raises(CannotBuild, match=r"nvcc is of CUDA 12\.9, and PyTorch 2\.13\.0\+cu130 of CUDA 13\.0"):
        match(Nvcc([], "12.9"), torch)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("8.0", ["80,code=sm_80"]),
        ("9.0a", ["90a,code=sm_90a"]),
        ("12.0f", ["120f,code=sm_120f"]),
        ("8.0;8.6;9.0+PTX", ["80,code=sm_80", "86,code=sm_86", "90,code=sm_90", "90,code=compute_90"]),
        (" 8.0  10.0; ", ["80,code=sm_80", "100,code=sm_100"]),
    ],
)
def test_architectures(asked: str, expected: list[str]):
    assert architecture_flags(asked) == [f"-gencode=arch=compute_{value}" for value in expected]


def test_other_words_are_no_architectures():
    for asked in ("Ampere", "80", "8.0;;nine", "8.0PTX", ";"):
        with pytest.raises(CannotBuild, match="TORCH_CUDA_ARCH_LIST must be like"):
            architecture_flags(asked)


@pytest.mark.usefixtures("csrc")
def test_a_folder_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "output"
    assert main(["--what", "auto", "--output", str(folder)]) == 0
    assert main(["--what", "cpp", "--output", str(folder)]) == 1
    for line in capsys.readouterr().err.splitlines():
        assert line.startswith(f"dasr_fast.build: the library can't be put into {folder}: ")


def test_nothing_was_ever_built(output: Path):
    output.mkdir()
    for content in (None, "", "[]", "{}", '{"parts": {}}'):
        if content is not None:
            (output / record.RECORD).write_text(content)
        with pytest.raises(record.NotBuilt, match=r"it was not built: run python -m dasr_fast\.build"):
            record.require("cpp", output)


@pytest.mark.skipif(sys.platform != "linux", reason="other loaders have other words")
def test_the_reason_is_told_and_a_truncated_library_breaks_nothing(tmp_path: Path):
    """By a copy of the package, whose backend cpp is off, and where the op nevertheless works."""
    ignored = shutil.ignore_patterns("*.so", record.RECORD, "__pycache__")
    package = shutil.copytree(Path(dasr_fast.__file__).parent, tmp_path / "dasr_fast", ignore=ignored)
    library = package / "compiled" / record.LIBRARY
    code = """if True:
        import torch
        from dasr_fast import ops
        from dasr_fast.ops.backends import state
        x = torch.ones(1, 2, 3, 3)
        assert torch.equal(ops.channel_modulation(x, torch.ones(1, 2) * 2), x * 2)
        print(state("channel_modulation", "cpp"))
    """
    (tmp_path / "told.py").write_text(code)
    for recorded, reason in (("the reason", "the reason"), (None, f"importing it failed: {library}: file too short")):
        library.with_name(record.RECORD).write_text(json.dumps({"parts": {"cpp": recorded, "cuda": "another"}}))
        assert printed(str(tmp_path / "told.py")).strip() == reason
        library.write_bytes(b"\x7fELF\x02\x01\x01")


def objects() -> list[Path]:
    """The objects with kernels of this checkout's library."""
    root = Path(dasr_fast.__file__).parents[1]
    facts = record.read()
    if not facts.get("instruction_sets") or not shutil.which("nm"):
        return []
    folder = root / "build" / f"library-{facts['torch']}" / "cpp"
    sources = sorted((root / "csrc" / "cpp").glob("*.cpp"))
    return [path for source in sources for path in folder.glob(f"{source.stem}.*.o") if "binding" not in path.name]


@pytest.mark.skipif(not objects(), reason="the library was not built in this checkout")
def test_instruction_sets_share_no_functions():
    """Else the linker might keep that of a set which this processor lacks."""
    shared = []
    for path in objects():
        symbols = subprocess.run(["nm", "--demangle", str(path)], text=True, capture_output=True, check=True).stdout
        weak = [line for line in symbols.splitlines() if line[17:18] in "WVu" and "DW.ref." not in line]
        shared += [f"{path.name}: {line[19:]}" for line in weak]
    assert not shared, "\n".join(shared)


def wanted() -> list[str]:
    """Symbols, with their versions, that this checkout's library expects of others."""
    library = record.FOLDER / record.LIBRARY
    if sys.platform != "linux" or not library.exists() or not shutil.which("nm"):
        return []
    printed = subprocess.run(["nm", "-D", "--undefined-only", library], text=True, capture_output=True, check=True)
    return [line.split()[-1] for line in printed.stdout.splitlines()]


needs_symbols = pytest.mark.skipif(not wanted(), reason="it was not built, or this system has other tools")


@needs_symbols
def test_only_the_stable_abi_is_used():
    """Else the library would be for one version of PyTorch, or of Python."""
    assert not [name for name in wanted() if re.match(r"_?Py|_ZN?K?(2at|3c10|5torch)", name)]
    assert any(name.startswith("aoti_torch_") for name in wanted())


@needs_symbols
def test_no_newer_glibc_is_needed_than_pytorch_needs():
    versions = {name: re.search(r"@GLIBC_2\.(\d+)", name) for name in wanted()}
    assert not [name for name, version in versions.items() if version and int(version[1]) > 28]
