import subprocess
import sys
import time

import pytest

from benchmarks.acceptance.calls import calls, made
from benchmarks.acceptance.part import ROOT

COMMAND = [sys.executable, "-m", "benchmarks.acceptance.calls", "--device", "cpu"]


@pytest.mark.parametrize(("seconds", "some"), [(-1, False), (300, True)])
def test_it_ends_by_itself_and_says_how_many_it_made(seconds: float, some: bool):
    command = [*COMMAND, "--end", str(time.monotonic() + seconds)]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    count = len(list(calls("cpu", timed=False)))
    assert made(f"===== a tool\n{text}===== its summary\n") == f"{count if some else 0} of {count} calls"
    assert len(text.splitlines()) == 1 + (count if some else 0)


def test_calls_of_a_program_that_was_stopped():
    assert made("===== a tool\nda_conv\ndegrade\n") == "2 calls"
