"""PyTorch without its private functions that the package uses, which may be gone from the next version."""

import importlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.autograd import forward_ad
from torch.utils.flop_counter import FlopCounterMode

import dasr_fast
from dasr_fast import cuda_graph, torch_state
from dasr_fast.export import program as export
from dasr_fast.foreach import lerp_, norms_of_sums
from dasr_fast.models import BlindSR

USED = {
    "torch._foreach_add": "foreach.py",
    "torch._foreach_lerp_": "foreach.py",
    "torch._foreach_norm": "foreach.py",
    "torch._assert_async": "training/representation/contrast.py",
    "torch.fx.experimental._config": "export/program.py",
    "torch._C._are_functorch_transforms_active": "torch_state.py",
    "torch._C._len_torch_dispatch_stack": "torch_state.py",
    "torch.fx._symbolic_trace": "torch_state.py",
    "torch._C._cuda_endAllocateToPool": "cuda_graph.py",
    "torch._C._cuda_releasePool": "cuda_graph.py",
}
"""Each has a test below or, the learner's, its own; but for the GPU's."""


def private(path: Path) -> set[str]:
    """Names of private things of torch in a file, whether written out, imported or asked for by `getattr`."""
    text = re.sub(r'(?:get|has)attr\(([\w.]+), "(\w+)"', r"\1.\2", path.read_text())
    text = re.sub(r"from (torch[\w.]*) import (\w+)", r"\1.\2", text)
    return set(re.findall(r"\btorch(?:\.\w+)*\._(?!_)\w+(?:\._\w+)?", text)) - {"torch._C"}


def test_all_are_known():
    package = Path(dasr_fast.__file__).parent
    files = {path.relative_to(package).as_posix(): path for path in package.rglob("*.py")}
    used = {(name, file) for file, path in files.items() for name in private(path)}
    assert used == set(USED.items())


@pytest.mark.parametrize("gone", [False, True])
def test_lerp(gone: bool, monkeypatch: pytest.MonkeyPatch):
    if gone:
        monkeypatch.delattr(torch, "_foreach_lerp_")
    tensors, targets = [torch.zeros(3), torch.ones(2, 2)], [torch.full((3,), 4.0), torch.full((2, 2), 3.0)]
    lerp_(tensors, targets, 0.25)
    assert (tensors[0].tolist(), tensors[1].tolist()) == ([1.0] * 3, [[1.5] * 2] * 2)


def test_export(monkeypatch: pytest.MonkeyPatch):
    assert export._takes_any_size()
    with monkeypatch.context() as patch:
        patch.delattr(torch.fx.experimental, "_config")
        assert not export._takes_any_size()
    # `torch.export` itself needs the configuration.
    monkeypatch.setattr(export, "_takes_any_size", lambda: False)
    model = BlindSR(2, channels=16, groups=1, blocks=1).eval()
    program = export.export_program(model)
    lr = 255 * torch.rand(2, 3, 9, 12)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(lr), model(lr), rtol=1e-4, atol=1e-2)


def test_state(monkeypatch: pytest.MonkeyPatch):
    seen = []
    torch.func.grad(lambda x: seen.append(torch_state.is_transformed()) or x)(torch.ones(()))
    with torch.nn.modules.module.register_module_forward_hook(lambda *_: None):
        seen.append(torch_state.has_global_hooks())
    with FlopCounterMode(display=False):
        seen.append(torch_state.has_dispatch_modes())
    with forward_ad.dual_level():
        seen.append(torch_state.differentiates_forward())
    assert len(seen) == 4
    assert all(seen)
    with monkeypatch.context() as patch:
        patch.delattr(torch._C, "_are_functorch_transforms_active")
        patch.delattr(torch._C, "_len_torch_dispatch_stack")
        patch.delattr("torch.nn.modules.module._has_any_global_hook")
        patch.delattr("torch.fx._symbolic_trace.is_fx_symbolic_tracing")
        patch.delattr("torch.autograd.forward_ad._current_level")
        without = importlib.reload(torch_state)
        answers = [without.is_transformed(), without.has_global_hooks(), without.is_symbolically_traced()]
        answers += [without.has_dispatch_modes(), without.differentiates_forward()]
    assert not any(answers)
    importlib.reload(torch_state)


@pytest.mark.parametrize("gone", [False, True])
def test_norms_of_sums(gone: bool, monkeypatch: pytest.MonkeyPatch):
    if gone:
        monkeypatch.delattr(torch, "_foreach_norm")
    norms = norms_of_sums([torch.ones(3), torch.zeros(2)], [torch.ones(3), torch.tensor([3.0, 4.0])])
    torch.testing.assert_close(norms, torch.tensor([12.0**0.5, 5.0]))


def test_recovery_of_a_failed_capture(monkeypatch: pytest.MonkeyPatch):
    for name in ("_cuda_endAllocateToPool", "_cuda_releasePool"):
        monkeypatch.delattr(torch._C, name, raising=False)
    monkeypatch.setattr(torch.cuda, "graph", refuse)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    resets: list[bool] = []
    graph = SimpleNamespace(reset=lambda: resets.append(True))
    cuda_graph._recover(graph, (0, 1), SimpleNamespace(device=SimpleNamespace(index=0)))
    assert resets


def refuse(*_: object, **__: object) -> None:
    raise RuntimeError("There is no GPU.")
