import io
import os
import pty
import re
import subprocess
import sys
import time

import pytest

from dasr_fast.progress import Progress


@pytest.mark.parametrize(("part", "words"), [(0.0, ""), (0.25, " and 25% of the next")])
def test_lines_without_a_terminal(part: float, words: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    steps = Progress(["a", "b"], "Upscaling", 2, every=0.05)
    for item in steps:
        steps.part(part)
        limit = time.monotonic() + 20
        while f"Upscaling: {'ab'.index(item)} of 2{words} done after" not in sys.stderr.getvalue():
            assert time.monotonic() < limit
            time.sleep(0.01)
    lines = sys.stderr.getvalue().splitlines()
    time.sleep(0.2)
    assert sys.stderr.getvalue().splitlines() == lines


def test_quick_work_says_nothing(capsys: pytest.CaptureFixture[str]):
    assert (list(Progress(range(3), "Upscaling", 3)), capsys.readouterr().err) == ([0, 1, 2], "")


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
