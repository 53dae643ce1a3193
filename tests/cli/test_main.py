import json
import subprocess
import sys

import pytest
import torch
from cli_helpers import Call, fails, one_line

import dasr_fast
from dasr_fast.build import record
from dasr_fast.models.checkpoint import SHIPPED
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS, OPS, state


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


def test_doctor_in_json(call: Call):
    code, out, _ = call("doctor", "--json")
    assert code == 0
    facts = json.loads(out)
    assert (facts["torch"], set(facts["ops"])) == (torch.__version__, set(OPS))
    for backends in facts["ops"].values():
        assert set(backends) == set(BACKENDS)
        assert backends["reference"] is None
        if not torch.cuda.is_available():
            assert backends["cuda"] == "no NVIDIA GPU was found"
    if state("channel_modulation", "cpp") is None:
        assert facts["library"].startswith(str(record.FOLDER / record.LIBRARY))
        assert facts["library"].endswith(f"built with torch {record.read()['torch']})")
    else:
        assert facts["library"].startswith(("off: ", "importing it failed: "))


def test_doctor_checks_kernels(call: Call, monkeypatch: pytest.MonkeyPatch):
    kernels = {op: IMPLEMENTATIONS[op, "cpp"] for op in OPS}
    on = [op for op in OPS if not isinstance(kernels[op], str)]
    code, out, _ = call("doctor", "--check")
    assert (code, out.count("agrees with the reference")) == (0, len(on))
    for op in on[:1]:
        monkeypatch.setattr(kernels[op], op, lambda x, *_: torch.zeros_like(x))
        code, out, _ = call("doctor", "--check", "--json")
        assert code == 1
        wrong = {name for name, reason in json.loads(out)["differ"].items() if reason is not None}
        assert wrong == {f"{op} by cpp"}


def test_doctor_without_a_library(call: Call, monkeypatch: pytest.MonkeyPatch):
    def refuse() -> None:
        raise record.NotBuilt("the [reason]")

    monkeypatch.setattr(record, "require", refuse)
    assert json.loads(call("doctor", "--json")[1])["library"] == "off: the [reason]"
    code, out, _ = call("doctor")
    assert code == 0
    for words in ("python", "library    off: the [reason]\n", *OPS, *BACKENDS):
        assert words in out


def test_weights_are_listed_with_what_they_are_for(call: Call):
    code, out, err = call("weights")
    assert (code, err) == (0, "")
    for path in SHIPPED.glob("*.safetensors"):
        assert f" {path.stem} " in out
    assert "noise up to" in " ".join(out.split())


def test_the_card_of_weights(call: Call):
    assert call("weights", "x2")[1] == (SHIPPED / "x2.md").read_text()
    fails(call, 2, "No weights at nothing", "weights", "nothing")
