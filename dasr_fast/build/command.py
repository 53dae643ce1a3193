"""`python -m dasr_fast.build` compiles csrc into the library of the backends cpp and cuda.

pip runs this too, before the package is installed: it needs neither torch imported nor anything else of the package but
`record`, `toolchain` and `recipe` beside it.
"""

import argparse
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from dasr_fast.build import record
from dasr_fast.build.recipe import Recipe, target
from dasr_fast.build.toolchain import DEFAULT_ARCHITECTURES, CannotBuild, architectures, find_torch

PARTS = {"auto": ["cpp", "cuda"], "cpp": ["cpp"], "cuda": ["cpp", "cuda"], "none": []}
"""What can be asked for, and which parts of the library that is."""


def build(what: str, output: Path, force: bool = False, verbose: bool = False) -> dict[str, Any]:
    """Build what was asked for into the folder `output`, and return the record that is stored beside the library.

    Raises:
        CannotBuild: `output` can't be written, or what was asked for by name can't be built; `output` is as it was.
    """
    check_writable(output)
    left_out = f"it was left out, as {what} was asked for: run {record.COMMAND} for all that this machine can"
    facts: dict[str, Any] = {"parts": {part: None if part in PARTS[what] else left_out for part in ("cpp", "cuda")}}
    attempt = excuse if what == "auto" else demand
    with objects_folder() as folder:
        built = compile_library(facts, folder, attempt, force, verbose)
        if PARTS[what] and "torch" not in facts and usable(output):
            return record.read(output)  # An installer that hides PyTorch shall not undo what was built with it.
        store(built, facts, output)
    return facts


def usable(output: Path) -> bool:
    """Whether there is a library of these sources already."""
    try:
        record.require(folder=output)
    except record.NotBuilt:
        return False
    return True


def excuse(step: Callable[[], None]) -> str | None:
    """Why a step fails, or None."""
    try:
        step()
    except CannotBuild as error:
        return str(error)
    return None


def demand(step: Callable[[], None]) -> None:
    """A step that may not fail."""
    step()


def compile_library(
    facts: dict[str, Any], folder: Path, attempt: Callable[[Callable[[], None]], str | None], force: bool, verbose: bool
) -> Path | None:
    """Compile and link the parts that `facts` have no reason against, add to the facts, and return the library."""
    parts = facts["parts"]
    wanted = [part for part, reason in parts.items() if reason is None]
    if not wanted:
        return None
    reason = attempt(partial(find_common, facts))
    if reason is not None:
        parts.update(dict.fromkeys(wanted, reason))
        return None
    recipe = Recipe(csrc(), find_torch())
    for part in wanted:
        parts[part] = attempt(partial(recipe.find, part))
    folder = folder / f"library-{recipe.torch.version}"
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    recipe.write(folder)
    for part in wanted:
        parts[part] = parts[part] or attempt(partial(run_ninja, folder, part, verbose))
    built = [part for part in wanted if parts[part] is None]
    while built and (reason := attempt(partial(run_ninja, folder, target(built), verbose))):
        parts[built.pop()] = reason  # Without CUDA it may still link.
    if recipe.compiler and "cpp" in built:
        facts.update(compiler=recipe.compiler.version, instruction_sets=recipe.compiler.instruction_sets)
    if recipe.nvcc and "cuda" in built:
        facts.update(nvcc=recipe.nvcc.version, architectures=architectures())
    return folder / target(built) if built else None


def find_common(facts: dict[str, Any]) -> None:
    """What every part needs; what it is goes into the facts.

    Raises:
        CannotBuild: Something is missing.
    """
    facts["torch"] = find_torch().version
    if importlib.util.find_spec("ninja") is None:
        raise CannotBuild(f"the package ninja was not installed yet: run {record.COMMAND}")
    facts["sources"] = {part: record.digest(csrc(), part) for part in record.PARTS}


def csrc() -> Path:
    """The folder of the sources."""
    found = record.sources()
    if found is None:
        raise CannotBuild("the folder csrc is missing")
    return found


def run_ninja(folder: Path, name: str, verbose: bool) -> None:
    """Bring a target up to date.

    Raises:
        CannotBuild: A command failed; the message has what the compiler said first.
    """
    import ninja

    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
    command = [str(Path(ninja.BIN_DIR, "ninja")), "-C", str(folder), *jobs, *(["-v"] if verbose else []), name]
    try:
        done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except OSError as error:
        raise CannotBuild(f"ninja does not run: {error}") from error
    if verbose:
        print(done.stdout, end="", flush=True)
    if done.returncode:
        raise CannotBuild(why(done.stdout))


def why(messages: str) -> str:
    """Which command of ninja's messages failed first, and the first lines of why."""
    lines = messages.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("FAILED:")), None)
    if first is None:
        return f"ninja failed: {' / '.join(lines[-2:])}"
    said = [line.strip() for line in lines[first + 2 :] if line.strip() and not line.startswith(("ninja:", "["))]
    errors = [line for line in said if re.search("error|undefined|cannot find", line, re.IGNORECASE)] or said
    message = " / ".join(errors[:2])[:500] or "the compiler said nothing"
    return f"making {lines[first].split()[-1]} failed: {message}"


def check_writable(output: Path) -> None:
    """Raises CannotBuild unless files can be put into the folder `output`, which is made."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output):
            pass
    except OSError as error:
        raise CannotBuild(f"the library can't be put into {output}: {error.strerror}") from error


@contextmanager
def objects_folder() -> Iterator[Path]:
    """Where objects go: build/ in a checkout, so that they are compiled once, else a temporary folder."""
    root = record.FOLDER.parent.parent
    if (root / "setup.py").exists() and os.access(root, os.W_OK):
        yield root / "build"
    else:
        with tempfile.TemporaryDirectory(prefix="dasr-fast-") as scratch:
            yield Path(scratch)


def store(built: Path | None, facts: dict[str, Any], output: Path) -> None:
    """Put library and record in place; processes that run keep the library that they have."""
    library = output / record.LIBRARY
    if built is None:
        library.unlink(missing_ok=True)
    else:
        new = library.with_suffix(f".{os.getpid()}")
        shutil.copy2(built, new)
        new.replace(library)
    (output / record.RECORD).write_text(json.dumps(facts, indent=1) + "\n")


def describe(facts: dict[str, Any]) -> list[str]:
    """A line for each part: what it was built for, or why it was not."""
    kinds = {"cpp": ", ".join(facts.get("instruction_sets", ())), "cuda": facts.get("architectures", "")}
    return [
        f"{part:4}  " + (f"built for {kinds[part]}" if reason is None else f"not built: {reason}")
        for part, reason in facts["parts"].items()
    ]


def main(arguments: list[str] | None = None) -> int:
    """The command; returns 0, or 1 if what was asked for by name can't be built."""
    parser = argparse.ArgumentParser(
        prog=record.COMMAND,
        description="Compile csrc into the library of the backends cpp and cuda. It heeds CXX, CXXFLAGS, CUDA_HOME, "
        f'MAX_JOBS and TORCH_CUDA_ARCH_LIST (default "{DEFAULT_ARCHITECTURES}"), and uses ccache if it is installed.',
    )
    parser.add_argument(
        "--what",
        choices=PARTS,
        help="auto: what this machine can, never failing; cpp; cuda: both; none (default: DASR_FAST_BUILD, or auto)",
    )
    parser.add_argument("--force", action="store_true", help="compile all anew")
    parser.add_argument("--verbose", action="store_true", help="show commands, and all that compilers say")
    parser.add_argument("--output", type=Path, default=record.FOLDER, metavar="FOLDER", help="(default: %(default)s)")
    given = parser.parse_args(arguments)
    what = given.what or os.environ.get("DASR_FAST_BUILD") or "auto"
    if what not in PARTS:
        parser.error(f"DASR_FAST_BUILD must be one of {', '.join(PARTS)}; got {what!r}")
    begin = time.perf_counter()
    try:
        facts = build(what, given.output, given.force, given.verbose)
    except CannotBuild as error:
        print(f"dasr_fast.build: {error}.", file=sys.stderr)
        return 0 if what == "auto" else 1
    print(*describe(facts), f"{time.perf_counter() - begin:.1f} s", sep="\n")
    return 0
