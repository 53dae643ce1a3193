import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dasr_fast.degradation import Degradation, gaussian_kernel, preset
from dasr_fast.degradation.degradation import Drawn
from dasr_fast.models import BlindSR, MoCo, save_weights
from dasr_fast.training.representation import (
    LEARNERS,
    DegradationTarget,
    InBatchLearner,
    MemoryBankLearner,
    MoCoLearner,
    OracleLearner,
    PredictorLearner,
    batch_statistics,
)
from dasr_fast.training.representation.batch_statistics import SynchronizedBatchNorm


def target(batch: int) -> DegradationTarget:
    sigma = torch.linspace(0.5, 3.0, batch)
    numbers = describe(gaussian_kernel(21, sigma), torch.linspace(0, 20, batch))
    return DegradationTarget(numbers, torch.arange(batch))


def describe(kernels: Tensor, levels: Tensor) -> Tensor:
    return Degradation().describe(Drawn(kernels, levels))


def patches(batch: int) -> Tensor:
    return torch.rand(batch, 2, 3, 16, 16) * 255


def test_in_batch_is_the_loss_written_as_a_loop():
    learner = InBatchLearner(temperature=0.2)
    learner.encoder_q.eval()
    lr = patches(3)
    embedding, loss, scores = learner(lr)
    assert torch.allclose(embedding, learner.encoder_q.embed(lr[:, 0]), rtol=1e-5)
    z = F.normalize(learner.encoder_q(lr.flatten(0, 1))[1].double(), dim=1)
    terms, right = [], 0
    for i in range(6):
        other = i + 1 if i % 2 == 0 else i - 1
        similar = {j: math.exp((z[i] @ z[j]).item() / 0.2) for j in range(6) if j != i}
        terms.append(-math.log(similar[other] / sum(similar.values())))
        right += max(similar, key=similar.get) == other
    assert loss.item() == pytest.approx(sum(terms) / 6, rel=1e-5)
    assert scores["contrast_accuracy"].item() == pytest.approx(right / 6)


def test_memory_bank_finds_the_entries_and_moves_them():
    learner = MemoryBankLearner(5, temperature=0.3, momentum=0.75)
    learner.encoder_q.eval()
    before, lr = learner.bank.clone(), patches(3)
    degradation = target(3)._replace(indices=torch.tensor([4, 1, 4]))
    degradation.numbers[2] = degradation.numbers[0]
    _, loss, _ = learner(lr, degradation)
    query = F.normalize(learner.encoder_q(lr[:, 0])[1].double(), dim=1)
    terms = []
    for b, own in enumerate((4, 1, 4)):
        scores = [(query[b] @ entry).item() / 0.3 for entry in before.double()]
        terms.append(-scores[own] + math.log(sum(math.exp(score) for score in scores)))
    assert loss.item() == pytest.approx(sum(terms) / 3, rel=1e-5)
    moved = F.normalize(0.75 * before[[1, 4]].double() + 0.25 * query[[1, 2]], dim=1)
    torch.testing.assert_close(learner.bank[[1, 4]].double(), moved, rtol=0, atol=1e-6)
    assert torch.equal(learner.bank[[0, 2, 3]], before[[0, 2, 3]])


@pytest.mark.parametrize("gone", [False, True])
def test_memory_bank_refuses_another_degradation(gone: bool, monkeypatch: pytest.MonkeyPatch):
    if gone:
        monkeypatch.delattr(torch, "_assert_async")
    learner = MemoryBankLearner(3)
    learner(patches(3), target(3))
    learner(patches(3), target(3))
    with pytest.raises(RuntimeError, match="each image must have the same degradation whenever it comes"):
        learner(patches(3), target(3)._replace(numbers=torch.ones(3, 4)))


@given(sigma_x=st.floats(0.8, 2.5), sigma_y=st.floats(0.8, 2.5), theta=st.floats(0, math.pi), noise=st.floats(0, 25))
def test_description_is_the_square_root_of_the_covariance(sigma_x: float, sigma_y: float, theta: float, noise: float):
    kernel = gaussian_kernel(31, sigma_x, sigma_y, theta)[None]
    # Turned by theta from x towards y, as `gaussian_kernel` documents.
    turn = torch.tensor([[math.cos(theta), -math.sin(theta)], [math.sin(theta), math.cos(theta)]])
    root = turn @ torch.diag(torch.tensor([sigma_x, sigma_y])) @ turn.T
    found = describe(kernel, torch.tensor([noise]))[0]
    expected = torch.tensor([root[0, 0], root[0, 1], root[1, 1], noise * 4 / 25])
    torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)


def test_description_of_no_blur_and_of_a_line():
    identity, line = torch.zeros(2, 5, 7)
    identity[2, 3] = 1
    line[2] = 1 / 7
    found = describe(torch.stack((identity, line)), torch.zeros(2))
    torch.testing.assert_close(found, torch.tensor([[0.0, 0, 0, 0], [2, 0, 0, 0]]), rtol=0, atol=1e-5)


def test_predictor_measures_its_error():
    learner = PredictorLearner()
    nn.init.zeros_(learner.prediction.weight)
    learner.prediction.bias.data = torch.tensor([1.0, 0.0, 1.0, 2.0])
    degradation = target(2)
    embedding, loss, scores = learner(patches(2), degradation)
    blur = (degradation.numbers[:, :3] - torch.tensor([1.0, 0, 1])).abs()
    noise = (torch.linspace(0, 20, 2) - 12.5).abs()
    assert scores["blur_error_pixels"].item() == pytest.approx(blur.mean().item())
    assert scores["noise_error_grey_levels"].item() == pytest.approx(noise.mean().item())
    assert loss.item() == pytest.approx((blur.sum() + noise.sum() / 6.25).item() / 8)
    assert embedding.shape == (2, 256)


def test_predictor_of_a_preset_names_every_quantity():
    degradation = preset("second-order", 2)
    drawn = degradation.draw((3, 2, 3, 32, 32), torch.device("cpu"), torch.Generator().manual_seed(0))
    numbers = degradation.describe(drawn)
    learner = PredictorLearner(quantities=degradation.quantities)
    nn.init.zeros_(learner.prediction.weight)
    nn.init.zeros_(learner.prediction.bias)
    _, loss, scores = learner(patches(3), DegradationTarget(numbers, torch.arange(3)))
    assert loss.item() == pytest.approx(numbers.abs().mean().item())
    assert set(scores) == {"blur_error_pixels", "resize_error_octaves", "noise_error_grey_levels", "quality_error"}
    resize = drawn.parts[5]
    octaves = numbers[:, [3, 10]].abs().mean()
    assert scores["resize_error_octaves"].item() == pytest.approx(octaves.item())
    torch.testing.assert_close(numbers[:, 10], resize.numbers["factor"].log2())
    quality = [100 - part.numbers["quality"].float() for part in (drawn.parts[3], drawn.parts[7].parts[1])]
    assert scores["quality_error"].item() == pytest.approx(torch.stack(quality).mean().item(), rel=1e-5)


def test_oracle_sees_the_degradation_alone():
    learner = OracleLearner()
    degradation = target(2)
    first, loss, _ = learner(patches(2), degradation)
    assert loss.item() == 0
    assert torch.equal(first, learner(patches(2), degradation).embedding)
    assert torch.equal(first, learner.embed(patches(2)[:, 0], degradation))
    assert not torch.equal(first, learner(patches(2), degradation._replace(numbers=torch.ones(2, 4))).embedding)
    assert learner.encoder is None


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner(name: str, tmp_path):
    model = BlindSR(4, groups=1, blocks=1)
    learner = LEARNERS[name](model.E, 4, Degradation.quantities).train()
    for module in learner.modules():
        if isinstance(module, nn.LeakyReLU):
            module.inplace = True
    lr, degradation = patches(3), target(3)
    before = {key: value.clone() for key, value in learner.state_dict().items()}
    embedding, loss, scores = learner(lr, degradation)
    assert embedding.shape == (3, 256)
    assert loss.shape == ()
    assert all(score.shape == () and not score.requires_grad for score in scores.values())
    if name == "fixed":
        assert not embedding.requires_grad
        assert all(torch.equal(value, before[key]) for key, value in learner.state_dict().items())
    else:
        (embedding.square().sum() + loss).backward()
    assert all((p.grad is not None) == p.requires_grad for p in learner.parameters())
    assert loss.requires_grad == learner.learns_alone == (loss.item() != 0)
    with pytest.raises(
        ValueError, match=r"lr must be \[B, 2, 3, H, W\], two patches of each image; got \[3, 3, 16, 16\]"
    ):
        learner(lr[:, 0], degradation)
    state = {key: value.clone() for key, value in learner.state_dict().items()}
    learner.eval()
    assert learner.embed(lr[:, 0], degradation).shape == (3, 256)
    assert all(torch.equal(value, state[key]) for key, value in learner.state_dict().items())
    if learner.encoder is not None:
        assert learner.encoder is model.E.encoder_q
        assert {key for key in state if key.startswith("encoder_q.")} == {
            key[2:] for key in model.state_dict() if key.startswith("E.encoder_q.")
        }
    save_weights(model, tmp_path / "model.safetensors")
    BlindSR.from_pretrained(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", ["moco", "in-batch", "memory-bank"])
def test_contrast_is_computed_in_float32_under_autocast(name: str):
    learner = LEARNERS[name](MoCo(queue_size=64), 64, Degradation.quantities).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = learner(patches(3), target(3)).loss
    assert loss.dtype == torch.float32
    loss.backward()


def test_batches_that_do_not_fit():
    with pytest.raises(ValueError, match="a batch of 3 over all ranks doesn't fit into a queue of 2 keys"):
        MoCoLearner(MoCo(queue_size=2))(patches(3))
    with pytest.raises(ValueError, match="patches of 2 images or more"):
        InBatchLearner()(patches(1))
    with pytest.raises(ValueError, match="images must be at least 1; got 0"):
        MemoryBankLearner(0)


WORLD = 3


@pytest.mark.parametrize("mean", [0.0, 10.0, 1000.0])
@pytest.mark.parametrize("spread", [0.0, 1e-3, 1.0])
def test_flat_and_distant_channels(monkeypatch: pytest.MonkeyPatch, mean: float, spread: float):
    joint = mean + spread * torch.randn(WORLD, 2, 4, 7, 5)
    moments = torch.stack([torch.stack(torch.var_mean(x, (0, 2, 3), correction=0)) for x in joint])
    monkeypatch.setattr(batch_statistics, "rank_and_world", lambda: (0, WORLD))
    monkeypatch.setattr(batch_statistics, "gather", lambda own: torch.cat((own, moments[1:])))
    norm, expected = SynchronizedBatchNorm(4), nn.BatchNorm2d(4).double()
    y, target = norm(joint[0]), expected(joint.flatten(0, 1).double())[:2]
    limit = 1e-5 + 1e-6 * mean / (spread**2 + norm.eps) ** 0.5  # Subtraction of the mean, in float32.
    torch.testing.assert_close(y.double(), target, rtol=0, atol=limit)
    rounding = (1e-6 * mean) ** 2 + 1e-6 * spread**2 + 1e-6 * mean * spread
    torch.testing.assert_close(norm.running_var.double(), expected.running_var, rtol=1e-6, atol=rounding)
