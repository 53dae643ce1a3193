"""What is seen of progress, on a terminal and without one."""

import io
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from dasr_fast.progress import Progress


def test_lines_without_a_terminal(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    for item in Progress(["a", "b"], "Upscaling", 2, every=0.05):
        limit = time.monotonic() + 20
        while f"Upscaling: {'ab'.index(item)} of 2 done after" not in sys.stderr.getvalue():
            assert time.monotonic() < limit
            time.sleep(0.01)
    lines = sys.stderr.getvalue().splitlines()
    time.sleep(0.2)
    assert sys.stderr.getvalue().splitlines() == lines


def test_a_part_of_an_item(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    steps = Progress(["a", "b"], "Upscaling", 2, every=0.05)
    for item in steps:
        steps.part(0.25)
        limit = time.monotonic() + 20
        while f"Upscaling: {'ab'.index(item)} of 2 and 25% of the next done after" not in sys.stderr.getvalue():
            assert time.monotonic() < limit
            time.sleep(0.01)


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]):
    assert list(Progress(range(3), "Upscaling", 3)) == [0, 1, 2]
    assert capsys.readouterr().err == ""


PROGRAM = """
from pathlib import Path
from dasr_fast.cli.common import Report
from dasr_fast.progress import Progress

report = Report()
for name in Progress({names}, "Upscaling", {count}):
    with report.guard(Path(name)):
        raise ValueError(f"{{name}} is not a whole image.")
"""


@pytest.mark.parametrize("names", [["a.png"], ["a.png", "b.png"]])
def test_errors_have_lines_of_their_own_beside_the_bar(names: list[str]):
    controller, terminal = pty.openpty()
    program = [sys.executable, "-c", PROGRAM.format(names=names, count=len(names))]
    subprocess.run(program, stderr=terminal, check=True, env={**os.environ, "TERM": "xterm", "COLUMNS": "100"})
    screen = _screen(os.read(controller, 65536).decode())
    os.close(terminal)
    os.close(controller)
    for name in names:
        assert f"dasr-fast: {name} is not a whole image." in screen
    assert f"{len(names)}/{len(names)}" in screen[-1]


def _screen(text: str) -> list[str]:
    """The lines that a terminal shows in the end, for what Rich writes: colours, line feeds, and lines taken back."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row + 1 - len(lines))
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part not in ("\r",) and not part.startswith("\x1b"):
            lines[row] += part
    return [line.rstrip() for line in lines if line.strip()]
