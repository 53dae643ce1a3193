"""A training step against the plain model, autograd and Adam."""

import logging
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import error
from stand_in_captures import StandIn
from torch import Tensor, nn

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.degradation import Degradation, preset
from dasr_fast.degradation.degradation import Drawn
from dasr_fast.models import BlindSR, MoCo
from dasr_fast.processes import Processes
from dasr_fast.training.average import MovingAverage
from dasr_fast.training.networks import placed
from dasr_fast.training.representation import DegradationTarget, MoCoLearner
from dasr_fast.training.schedule import Schedule
from dasr_fast.training.step import WARM_UP, Repeated, TrainingStep

CPU = Processes(torch.device("cpu"))
INDICES = torch.arange(4)


def small() -> BlindSR:
    torch.manual_seed(1)
    network = BlindSR(2, channels=8, groups=1, blocks=1)
    network.E = MoCo(queue_size=16)
    with torch.no_grad():
        for parameter in network.E.encoder_q.parameters():  # Keys and queries differ, as they soon do.
            parameter.mul_(1 + 0.3 * torch.randn_like(parameter))
    return placed(network, CPU.device).train()


def make_step(network: BlindSR, encoder_steps: int = 0, processes: Processes = CPU, **options: Any) -> TrainingStep:
    schedule = Schedule(encoder_steps, 4, 1e-3, 1e-4)
    return TrainingStep(MoCoLearner(network.E), network.G, Degradation(2), schedule, processes, seed=3, **options)


def patches(step: int, batch: int = 4) -> Tensor:
    return torch.randint(0, 256, (batch, 2, 3, 32, 32), generator=torch.Generator().manual_seed(step)).byte()


def plain_step(network: BlindSR, lr: Tensor, hr: Tensor, optimizer: torch.optim.Optimizer | None) -> tuple[Tensor, ...]:
    """The released training step: `BlindSR` in training mode, L1 and cross-entropy, 1:1."""
    sr, logits, labels = network(lr)
    contrast, l1 = F.cross_entropy(logits, labels), F.l1_loss(sr, hr)
    network.zero_grad()
    (contrast + l1).backward()
    if optimizer is not None:
        optimizer.step()
    return contrast, l1


def check_losses(
    step: TrainingStep, number: int, plain: BlindSR, optimizer: torch.optim.Optimizer | None = None, rel: float = 1e-4
) -> None:
    """Take the step and that of the plain model, whose losses are to agree."""
    hr = patches(number)
    lr, _ = step.degraded(number, hr, INDICES)
    losses = step(number, hr, INDICES)
    contrast, l1 = plain_step(plain, lr, hr[:, 0].float(), optimizer)
    assert losses["representation"].item() == pytest.approx(contrast.item(), rel=rel)
    assert losses["l1"].item() == pytest.approx(l1.item(), rel=1e-4)
    assert torch.equal(losses["loss"], losses["representation"] + losses["l1"])


def check_gradients(network: BlindSR, plain: BlindSR) -> None:
    for (name, own), other in zip(network.named_parameters(), plain.parameters(), strict=True):
        if other.grad is not None:
            assert own.grad is not None
            assert error(own.grad, other.grad) < 1e-4, name


def test_losses_and_gradients_are_the_plain_models():
    network, plain = small(), small()
    step = make_step(network)
    optimizer = torch.optim.Adam((p for p in plain.parameters() if p.requires_grad), 1e-4, foreach=False)
    for number in range(3):
        optimizer.param_groups[0]["lr"] = step.schedule.rate(number)
        check_losses(step, number, plain, optimizer, rel=1e-3)
        if number == 0:  # Later ones have gone through Adam, to which the sign of a rounding error is a step.
            check_gradients(network, plain)
    assert torch.equal(network.E.queue_ptr, plain.E.queue_ptr)
    assert error(network.E.queue, plain.E.queue) < 1e-3


def test_batch_statistics_are_kept_once_everything_is_trained():
    network, plain = small(), small()
    step = make_step(network, encoder_steps=2, keep_statistics=True)
    norms = [module for module in network.E.modules() if isinstance(module, nn.BatchNorm2d)]
    for number in range(2):
        before = [norm.running_mean.clone() for norm in norms]
        step(number, patches(number), INDICES)
        assert not any(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))

    plain.load_state_dict(network.state_dict())
    for module in plain.E.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers() if "running" in name}
    network.eval()
    network.train()  # As before and after a validation.
    check_losses(step, 2, plain)
    check_gradients(network, plain)
    network.train()
    step(3, patches(3), INDICES)
    for name, buffer in network.named_buffers():
        if name in buffers:
            assert torch.equal(buffer, buffers[name]), name


def test_the_encoder_alone_leaves_the_sr_network():
    network = small()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    step = make_step(network, encoder_steps=1)
    losses = step(0, patches(0), INDICES)
    assert "l1" not in losses
    after = network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("G."))
    assert not torch.equal(after["E.encoder_q.E.0.weight"], before["E.encoder_q.E.0.weight"])
    assert "l1" in step(1, patches(1), INDICES)
    assert not torch.equal(network.state_dict()["G.head.0.weight"], before["G.head.0.weight"])
    assert torch.equal(network.state_dict()["G.sub_mean.bias"], before["G.sub_mean.bias"])


@pytest.mark.parametrize("degradation", [Degradation(2), preset("photo", 2)], ids=["paper", "photo"])
def test_degradations_depend_on_the_step_alone_and_several_processes_share_them(degradation: Any):
    def stepping(processes: Processes = CPU) -> TrainingStep:
        step = make_step(small(), processes=processes)
        step.degradation = degradation
        return step

    hr, indices = torch.randint(0, 256, (6, 2, 3, 48, 48)).byte(), torch.arange(6)
    step = stepping()
    step.degraded(3, hr, indices)
    lr, target = step.degraded(5, hr, indices)
    drawn = degradation.draw(hr.shape, CPU.device, torch.Generator().manual_seed(zlib.crc32(b"3 5")))
    assert lr.shape == (6, 2, 3, 24, 24)
    assert torch.equal(lr, degradation.degrade(hr, drawn))
    torch.testing.assert_close(target.numbers, degradation.describe(drawn))
    assert not torch.equal(step.degraded(6, hr, indices)[0], lr)
    for rank in range(3):
        part = slice(2 * rank, 2 * rank + 2)
        own_lr, own = stepping(Processes(CPU.device, rank, world=3)).degraded(5, hr[part], indices[part])
        assert torch.equal(own_lr, lr[part])
        assert torch.equal(own.numbers, target.numbers[part])
        assert torch.equal(own.indices, target.indices[part])


def test_degradations_that_belong_to_images():
    step = make_step(small())
    step.of_images = step.degradation.draw((9, 3, 0, 0), torch.device("cpu"))
    assert step.of_images.level is not None
    hr, indices = patches(0), torch.tensor([7, 2, 2, 8])
    for number in range(2):
        lr, target = step.degraded(number, hr, indices)
        of_images = step.of_images[indices]
        assert torch.equal(target.numbers, step.degradation.describe(of_images))
        noise = lr - step.degradation.degrade(hr, Drawn(of_images.kernels))
        spread = noise.flatten(1).std(1)
        assert torch.corrcoef(torch.stack((spread, of_images.level)))[0, 1] > 0.95
    assert not torch.equal(lr, step.degraded(0, hr, indices)[0])


def test_the_target_tells_the_degradation():
    step = make_step(small())
    step.degradation = Degradation(2, noise=(12.0, 12.0))
    hr = torch.full((2, 2, 3, 64, 64), 128).byte()
    lr, target = step.degraded(0, hr, torch.arange(2))
    assert (target.numbers[:, 3] * 6.25).tolist() == [12.0, 12.0]
    assert lr.std().item() == pytest.approx(12.0, rel=0.05)
    step.degradation = Degradation(2, noise=0.0)
    lr, target = step.degraded(0, hr, torch.arange(2))
    assert target.numbers[:, 3].tolist() == [0.0, 0.0]
    assert (lr == 128).all()


def test_given_lr_patches_are_taken_as_they_are():
    given = torch.randint(0, 256, (4, 2, 3, 16, 16)).byte()
    step, other = make_step(small()), make_step(small())
    losses = step(0, patches(0), INDICES, given)
    other.degraded = lambda *_: (given.float(), DegradationTarget(torch.zeros(4, 0), INDICES))  # type: ignore[method-assign]
    assert losses == other(0, patches(0), INDICES)


def test_clipping_and_averages():
    network, other = small(), small()
    weights = dict(network.G.named_parameters())
    average = MovingAverage(weights, 0.75)
    history: list[dict[str, torch.Tensor]] = []
    step = make_step(network, clip=0.01, average=average)
    unlimited = make_step(other)
    for number in range(2):
        step(number, patches(number), INDICES)
        unlimited(number, patches(number), INDICES)
        history.append({name: value.detach().clone() for name, value in weights.items()})
        grads = [[p.grad.flatten() for p in s.parameters if p.grad is not None] for s in (step, unlimited)]
        norms = [torch.cat(own).norm().item() for own in grads]
        assert norms[0] == pytest.approx(0.01, rel=1e-3)
        assert norms[1] > 1
    with average.in_use():
        for name, value in weights.items():
            torch.testing.assert_close(value.detach(), (0.75 * history[0][name] + history[1][name]) / 1.75)
    assert all(torch.equal(value, history[1][name]) for name, value in weights.items())


def test_bf16_keeps_float32_weights():
    network, single = small(), small()
    losses = make_step(network, bf16=True)(0, patches(0), INDICES)
    expected = make_step(single)(0, patches(0), INDICES)
    assert losses["l1"].dtype == torch.float32
    assert losses["l1"].item() == pytest.approx(expected["l1"].item(), rel=0.01)
    assert losses["representation"].item() == pytest.approx(expected["representation"].item(), rel=0.1)
    assert losses["l1"].item() != expected["l1"].item()
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_activations_in_place_change_nothing():
    results = []
    for in_place in (False, True):
        network = small()
        for module in network.modules():
            if isinstance(module, nn.LeakyReLU):
                assert module.inplace
                module.inplace = in_place
        lr = patches(0)[..., :16, :16].float()
        plain_step(network, lr, patches(1)[:, 0].float(), None)
        results.append([p.grad for p in network.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


PLAIN, LAST = torch.contiguous_format, torch.channels_last


@pytest.mark.parametrize("formats", [(PLAIN, PLAIN), (PLAIN, LAST), (LAST, PLAIN)], ids=str)
def test_an_optimizers_state_goes_on(formats: tuple[torch.memory_format, ...]):
    """Also in another memory format, as on another device, where weights lie in memory otherwise."""
    network, resumed = (small().to(memory_format=one) for one in formats)
    step, other = make_step(network), make_step(resumed)
    for number in range(2):
        step(number, patches(number), INDICES)
    resumed.load_state_dict(network.state_dict())
    other.load_optimizer(deepcopy(step.optimizer.state_dict()))
    for mine, parameter in zip(step.optimizer.state.values(), other.optimizer.state, strict=True):
        loaded = other.optimizer.state[parameter]
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(loaded[name], mine[name])
            assert loaded[name].stride() == parameter.stride()
    before = [p.detach().clone() for p in network.parameters()]
    for s in (step, other):
        s(2, patches(2), INDICES)
    if formats[0] == formats[1]:
        states = (module.state_dict().values() for module in (network, resumed))
        assert all(torch.equal(one, two) for one, two in zip(*states, strict=True))
    for one, two, old in zip(network.parameters(), resumed.parameters(), before, strict=True):
        if one.dim() == 4:  # Biases before batch normalisation have gradients of rounding errors alone.
            assert (one - two).norm() <= 0.05 * (one - old).norm()


@pytest.mark.parametrize("fails", [False, True])
def test_called_a_few_times_then_captured_once(fails: bool, caplog: pytest.LogCaptureFixture):
    capture = StandIn(lambda _: fails)
    repeated = Repeated(lambda x: {"twice": 2 * x}, capture)
    with caplog.at_level(logging.WARNING):
        results = [repeated(torch.tensor(i))["twice"].item() for i in range(WARM_UP + 3)]
    assert results == [2 * i for i in range(WARM_UP + 3)]
    assert (len(capture.warmed), len(capture.captured)) == (WARM_UP, 1)
    assert ["not permitted" in record.getMessage() for record in caplog.records] == ([True] if fails else [])


def test_both_stages_of_a_run_are_the_same_when_replayed():
    plain, replayed = (make_step(small(), encoder_steps=5, **o) for o in ({}, {"capture": StandIn}))
    for number in range(10):
        expected, losses = (step(number, patches(number), INDICES) for step in (plain, replayed))
        assert losses.keys() == expected.keys()
        assert all(torch.equal(losses[name], value) for name, value in expected.items())
    assert "l1" in losses


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("options", [{}, {"bf16": True}, {"clip": 1.0}])
@pytest.mark.parametrize("place", [nn.Module.to, placed])
def test_cuda_graph(place: Callable[..., BlindSR], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    device = torch.device("cuda")
    losses = []
    for capture in (None, CudaCapture):
        step = make_step(place(small(), device), 5, Processes(device), capture=capture, **options)
        numbers = range(10)
        taken = [step(number, patches(number).to(device), INDICES.to(device)) for number in numbers]
        assert len({id(each["loss"]) for each in taken}) == len(taken)
        losses.append(torch.stack([each["loss"] for each in taken]))
    close = 1e-2 if "bf16" in options else 1e-3
    torch.testing.assert_close(losses[0], losses[1], rtol=close, atol=close)
