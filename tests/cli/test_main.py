import subprocess
import sys

import pytest
from cli_helpers import Call, fails, one_line

import dasr_fast


def test_help_suffices(call: Call):
    code, out, _ = call("--help")
    assert code == 0
    for command in ("upscale", "degrade", "evaluate", "train", "export", "represent", "doctor"):
        assert command in out
        code, details, _ = call(command, "--help")
        assert code == 0
        assert "Usage: dasr-fast" in details
    code, out, err = call()
    assert code == 2
    assert "Usage" in out + err
    code, out, _ = call("--version")
    assert (code, out.split()[-1]) == (0, dasr_fast.__version__)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["enlarge"], "No such command 'enlarge'"),
        (["upscale", "--fast"], "No such option"),
        (["doctor", "x"], "unexpected"),
    ],
)
def test_wrong_calls(call: Call, arguments: list[str], message: str):
    fails(call, 2, message, *arguments)


def test_as_a_program():
    program = [sys.executable, "-c", "from dasr_fast.cli import main; main()", "upscale", "nowhere.png"]
    finished = subprocess.run(program, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    assert one_line(finished.stderr)
    assert finished.stdout == ""
