import copy
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from acceleration.models_related import UNet
from torch import Tensor, nn
from torch.nn.utils import prune

import dasr_fast
from dasr_fast.acceleration.accelerate import report
from dasr_fast.acceleration.replacement import is_replaced
from dasr_fast.acceleration.replacements import blind_sr
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR
from tests.released.network import Blind

LR = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 255


@functools.cache
def accelerated() -> nn.Module:
    return dasr_fast.accelerate(Blind(2, 1, 1).eval(), inference=True)


@pytest.fixture
def model() -> nn.Module:
    """A small model that computes by the engine."""
    return copy.deepcopy(accelerated())


def test_evaluation_goes_through_the_engine():
    model = Blind(2, 1, 1)
    original = copy.deepcopy(model)
    dasr_fast.accelerate(model, inference=True)
    assert report(model).replaced[""] == "BlindSR"
    images = torch.rand(2, 2, 3, 8, 8) * 255
    torch.testing.assert_close(model(images)[0], original(images)[0], rtol=1e-4, atol=1e-2)
    model.eval()
    original.load_state_dict(model.state_dict())
    original.eval()
    sr = model(images[:, 0])
    torch.testing.assert_close(sr, original(images[:, 0]).detach(), rtol=0, atol=0.02)
    sr.clamp_(0, 255)
    assert not sr.requires_grad


def test_changes_are_noticed_and_a_copy_has_its_own_engine(model: nn.Module):
    def check() -> None:
        plain = dasr_fast.revert(copy.deepcopy(twin))
        torch.testing.assert_close(twin(LR), plain(LR).detach(), rtol=0, atol=0.02)

    before = model(LR)
    assert torch.equal(model(LR), before)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        twin.G.tail[1].bias.add_(3)
    torch.testing.assert_close(twin(LR), before + 3, rtol=0, atol=1e-3)
    assert torch.equal(model(LR), before)
    twin.load_state_dict(Blind(2, 1, 1).state_dict())
    check()
    twin.G.head[0] = nn.Conv2d(3, 64, 3, padding=1)
    check()
    twin.bfloat16()
    assert twin(LR.bfloat16()).dtype == torch.bfloat16


def test_a_second_call_changes_nothing(model: nn.Module):
    done = report(model)
    dasr_fast.accelerate(model, inference=True)
    dasr_fast.accelerate(model)
    assert report(model) == done


@pytest.mark.slow
@pytest.mark.usefixtures("_hurried_threads")
def test_several_threads(model: nn.Module):
    images = torch.rand(8, 1, 3, 8, 8) * 255
    expected = [dasr_fast.revert(copy.deepcopy(model))(lr).detach() for lr in images]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(model, images.repeat(40, 1, 1, 1, 1)))
    for result, other in zip(results, expected * 40, strict=True):
        torch.testing.assert_close(result, other, rtol=0, atol=0.02)


def test_it_stays_replaced_while_an_engine_is_made(model: nn.Module, monkeypatch: pytest.MonkeyPatch):
    kinds = []

    def make(given: nn.Module, precision: str) -> Engine:
        kinds.append((type(given), is_replaced(model)))
        return Engine(given, precision)

    monkeypatch.setattr(blind_sr, "Engine", make)
    model(torch.rand(1, 3, 8, 8))
    assert kinds == [(Blind, True)]


def test_our_own_model():
    model = BlindSR(2, groups=1, blocks=1).eval()
    lr = torch.rand(1, 3, 8, 8) * 255
    expected = model(lr).detach()
    dasr_fast.accelerate(model, inference=True)
    assert isinstance(model, BlindSR)
    torch.testing.assert_close(model(lr), expected, rtol=0, atol=0.02)


def test_gradients_of_the_image(model: nn.Module):
    lr = LR.clone().requires_grad_()
    model(lr).sum().backward()
    assert lr.grad.abs().max() > 0


@pytest.mark.parametrize("inference", [False, True])
def test_forward_mode_derivatives(inference: bool):
    model = Blind(2, 1, 1).eval()
    original = copy.deepcopy(model).double()
    dasr_fast.accelerate(model, inference=inference)
    lr, along = torch.rand(1, 3, 50, 50) * 255, torch.randn(1, 3, 50, 50)
    _, tangent = torch.func.jvp(model, (lr,), (along,))
    _, expected = torch.func.jvp(original, (lr.double(),), (along.double(),))
    assert (tangent - expected).norm() <= 1e-4 * expected.norm()


def test_another_network_is_told():
    model = UNet()
    dasr_fast.accelerate(model, inference=True)
    assert report(model).left[""] == "there is no whole BlindSR in it that the engine could compute"


@pytest.mark.parametrize(
    "write",
    [
        lambda p: p.data.mul_(0.999).add_(0.001),
        lambda p: p.data.neg_(),
        lambda p: p.data.copy_(p.data.flip(0)),
        lambda p: p.data.view(-1)[0].add_(0.5),
    ],
)
def test_writes_through_data_are_noticed(model: nn.Module, write: Callable[[nn.Parameter], object]):
    before = model(LR)
    write(model.G.body[0].body[0].conv1.weight)
    result = model(LR)
    assert (result - before).abs().max() > 1e-3
    torch.testing.assert_close(result, dasr_fast.revert(model)(LR).detach(), rtol=0, atol=0.02)


CHANGES: dict[str, Callable[[nn.Module], object]] = {
    "pruned": lambda model: prune.l1_unstructured(model.G.head[0], "weight", 0.5),
    "weight norm by a hook": lambda model: nn.utils.weight_norm(model.G.head[0]),
    "weight norm": lambda model: nn.utils.parametrizations.weight_norm(model.G.head[0]),
    "low rank": lambda model: model.G.body[0].body[0].da_conv1.kernel.__setitem__(0, LowRank(64, 64)),
    "hook": lambda model: model.G.head[0].register_forward_hook(lambda *call: 2 * call[2]),
    "a setting": lambda model: setattr(model.G.tail[1], "padding_mode", "reflect"),
    "batch statistics": lambda model: model.E.encoder_q.E[1].train(),
    "forward": lambda model: setattr(model.G, "forward", lambda lr, v: lr.repeat(1, 1, 2, 2)),
}


class LowRank(nn.Linear):
    """A layer with an addition of low rank, as LoRA makes it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        self.down, self.up = nn.Linear(inputs, 2, bias=False), nn.Linear(2, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.up(self.down(x))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.filterwarnings("ignore:.*weight_norm")
def test_another_model_computes_by_its_own_forward(model: nn.Module, name: str):
    model(LR)
    CHANGES[name](model)
    with pytest.warns(RuntimeWarning, match="the model computes by its own forward, not by the engine: "):
        result = model(LR)
    torch.testing.assert_close(result, dasr_fast.revert(model)(LR), rtol=0, atol=0.02)
