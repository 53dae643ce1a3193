import json

import pytest
import torch
from cli_helpers import Call

from dasr_fast.build import record
from dasr_fast.ops.backends import BACKENDS, IMPLEMENTATIONS, OPS, state


def test_json(call: Call):
    code, out, _ = call("doctor", "--json")
    assert code == 0
    facts = json.loads(out)
    assert facts["torch"] == torch.__version__
    assert set(facts["ops"]) == set(OPS)
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


def test_table(call: Call):
    code, out, _ = call("doctor")
    assert code == 0
    for word in ("python", *OPS, *BACKENDS):
        assert word in out


def test_check(call: Call, monkeypatch: pytest.MonkeyPatch):
    kernels = {op: IMPLEMENTATIONS[op, "cpp"] for op in OPS}
    on = [op for op in OPS if not isinstance(kernels[op], str)]
    code, out, _ = call("doctor", "--check")
    assert code == 0
    assert out.count("agrees with the reference") == len(on)
    for op in on[:1]:
        monkeypatch.setattr(kernels[op], op, lambda x, *_: torch.zeros_like(x))
        code, out, _ = call("doctor", "--check", "--json")
        assert code == 1
        wrong = {name for name, reason in json.loads(out)["differ"].items() if reason is not None}
        assert wrong == {f"{op} by cpp"}


def test_no_library(call: Call, monkeypatch: pytest.MonkeyPatch):
    def refuse() -> None:
        raise record.NotBuilt("the [reason]")

    monkeypatch.setattr(record, "require", refuse)
    assert json.loads(call("doctor", "--json")[1])["library"] == "off: the [reason]"
    assert "library    off: the [reason]\n" in call("doctor")[1]
