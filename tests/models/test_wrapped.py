import argparse
import types
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dasr_fast.models import BlindSR, CheckpointError, read_weights

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    return BlindSR(2, channels=8, groups=1, blocks=1).state_dict()


def other(state: State) -> State:
    """The same network, in other training."""
    return {key: value + 1 for key, value in state.items()}


def prefixed(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def within(part: str, wrapper: str, state: State) -> State:
    return {key.replace(part, part + wrapper, 1): value for key, value in state.items()}


def parts(state: State) -> dict[str, State]:
    return {name: {key[2:]: x for key, x in state.items() if key[0] == name} for name in "GE"}


def recursive(state: State) -> dict[str, Any]:
    content: dict[str, Any] = {"model": state}
    content["itself"] = content
    return content


def deep(state: State) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for _ in range(100):
        content = {"deeper": content}
    return {"model": state, "deep": content}


def released(state: State) -> State:
    return {key: x for key, x in state.items() if not key.startswith(("E.encoder_k.", "E.queue"))}


FORMS: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "released": released,
    "OrderedDict": OrderedDict,
    **{
        name: lambda s, name=name: {name: s}
        for name in ("params", "params_ema", "state_dict", "model", "model_state_dict", "net_g", "generator", "network")
    },
    **{
        prefix: lambda s, prefix=prefix: prefixed(prefix, s)
        for prefix in ("module.", "_orig_mod.", "model.", "net.", "module._orig_mod.", "_orig_mod.module.model.")
    },
    "compiled SR network": lambda s: within("G.", "_orig_mod.", s),
    "parallel encoder": lambda s: within("E.encoder_q.", "module.", s),
    "compiled block": lambda s: within("G.body.0.body.0.", "_orig_mod.", s),
    "average before": lambda s: {"params_ema": s, "params": other(s)},
    "average after": lambda s: {"params": other(s), "params_ema": s},
    "average of Lightning": lambda s: {
        "state_dict": {**prefixed("model.", other(s)), **prefixed("ema_model.module.", s), "loss.weight": torch.ones(2)}
    },
    "averaged model": lambda s: {**prefixed("module.", s), "n_averaged": torch.tensor(7)},
    "average of the SR network alone": lambda s: {
        "params": s,
        "params_ema": {k: v for k, v in s.items() if k[0] == "G"},
    },
    "nested": lambda s: {"checkpoint": {"net_g": {"params": {"state_dict": prefixed("module._orig_mod.", s)}}}},
    "in parts": parts,
    "in parts, nested": lambda s: {"model": parts(s)},
    "Lightning": lambda s: {
        "epoch": 3,
        "state_dict": prefixed("model.", s),
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "loops": {"fit": {"steps": 5}},
        "hyper_parameters": OrderedDict(rate=0.1),
    },
    "settings and scores": lambda s: {
        "args": argparse.Namespace(scale=[4], folder=Path("photos"), nested=types.SimpleNamespace(a=1)),
        "psnr": np.float64(28.4),
        "loss": np.float32(1.5),
        "epoch": np.int64(600),
        "best": np.bool_(True),
        "curve": np.arange(5.0),
        "net": s,
    },
    "numbers beside the tensors": lambda s: {**s, "epoch": 600, "psnr": np.float32(28.4), "args": argparse.Namespace()},
    "optimizer": lambda s: {
        "model": s,
        "optimizer": torch.optim.Adam([torch.nn.Parameter(torch.ones(2))]).state_dict(),
        "rng": torch.get_rng_state(),
    },
    "recursive": recursive,
    "deep": deep,
    "parameters": lambda s: {k: torch.nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()},
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_forms(form: str, legacy: bool, state: State, tmp_path: Path):
    torch.save(FORMS[form](state), tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    found = read_weights(tmp_path / "a.pt")
    assert found.keys() == (released(state) if form == "released" else state).keys()
    assert all(torch.equal(value, state[key]) for key, value in found.items())


def run_checkpoint(state: State, weight: float | None) -> dict[str, Any]:
    """What training writes: the weights now, and twice them, on average, times `weight`."""
    sums = {key: 2 * x * weight for key, x in released(state).items()} if weight is not None else {}
    average = {**{k: x for k, x in sums.items() if "mlp" not in k}, "weight of all": torch.tensor(weight or 0.0)}
    moco = {key[2:]: x for key, x in state.items() if key.startswith("E.")}
    learner = {**moco, "prediction.weight": torch.ones(3)}
    sr = {key[2:]: x for key, x in state.items() if key.startswith("G.")}
    return {"taken": 5, "sr": sr, "learner": learner, "average": average if weight is not None else None}


@pytest.mark.parametrize("weight", [None, 0.0, 0.5])
def test_checkpoints_of_runs_give_their_result(weight: float | None, state: State, tmp_path: Path):
    torch.save(run_checkpoint({k: x.float() for k, x in state.items()}, weight), tmp_path / "step-00000005.pt")
    found = read_weights(tmp_path / "step-00000005.pt")
    assert found.keys() == released(state).keys()
    for key, value in found.items():
        torch.testing.assert_close(value, state[key].float() * (2 if weight and "mlp" not in key else 1))


class Code:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"epoch": 3, "state_dict": {"conv.weight": torch.ones(2)}}, "Its keys are epoch, state_dict.conv.weight."),
        ({str(i): i for i in range(9)}, "Its keys are 0, 1, 2, 3, 4 and 4 more."),
        ({}, "holds no dictionary of tensors"),
        ({3: {4: 5}}, "Its keys are none."),
        ({"x" * 10**6: 1}, r"Its keys are x{57}\.\.\.\."),
        ({"args": argparse.Namespace(evil=Code())}, "could run code, such as exec,"),
        ({"args": np.array([Code()], dtype=object)}, "could run code|that PyTorch can read"),
    ],
)
def test_what_is_there_is_said_where_there_is_no_model(content: Any, message: str, tmp_path: Path):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=message) as error:
        read_weights(tmp_path / "a.pt")
    assert len(str(error.value)) < 500
