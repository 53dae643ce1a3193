import json

import torch
from cli_helpers import Call

from dasr_fast.ops.backends import BACKENDS, OPS


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


def test_table(call: Call):
    code, out, _ = call("doctor")
    assert code == 0
    for word in ("python", *OPS, *BACKENDS):
        assert word in out
