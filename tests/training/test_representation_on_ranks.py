"""Learners in two processes (gloo), which run this file, against one process with the joint batch.

Results are compared with batch normalisation in evaluation mode, and with its statistics synchronized; that buffers are
the same on all ranks is checked with each rank's own statistics too. Gradients are averaged over the processes, as
DistributedDataParallel does.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from dasr_fast.degradation import Degradation
from dasr_fast.models import MoCo
from dasr_fast.training.representation import LEARNERS, DegradationTarget, Learner
from dasr_fast.training.representation.batch_statistics import synchronize

WORLD = 2
NAMES = ("moco", "in-batch", "memory-bank")

INDICES = torch.tensor([5, 2, 0, 3, 2, 1])
"""Of the images of the joint batch; one comes twice."""

STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers of batch normalisation."""


def make_learner(name: str, *, normalised: bool) -> Learner:
    """The same on every rank; batch normalisation with the statistics of the batch only if `normalised`."""
    torch.manual_seed(0)
    moco = MoCo(queue_size=16)
    moco.queue_ptr.fill_(13)
    with torch.no_grad():
        for parameter in moco.encoder_q.parameters():
            parameter.mul_(1.05)
    learner = LEARNERS[name](moco, 6, Degradation.quantities).train().double()
    if name == "memory-bank":
        learner.descriptions = learner.descriptions.float()
    if not normalised:
        moco.encoder_q.eval()
        moco.encoder_k.eval()
    return learner


def step(learner: Learner, lr: Tensor, indices: Tensor) -> dict[str, Any]:
    """The loss, gradients and buffers after a step."""
    lr = lr.double()
    target = DegradationTarget(torch.zeros(len(lr), 4), indices)
    seen: list[Tensor] = []
    if hasattr(learner, "encoder_k"):
        learner.encoder_k.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    result = learner(lr, target)
    result.loss.backward()
    return {
        "loss": result.loss.detach(),
        "accuracy": result.scores["contrast_accuracy"],
        "embedding": result.embedding.detach(),
        "gradients": {n: p.grad for n, p in learner.named_parameters() if p.requires_grad},
        "buffers": {n: b for n, b in learner.named_buffers() if n in ("queue", "queue_ptr", "bank")},
        "statistics": {n: b for n, b in learner.named_buffers() if n.split(".")[-1] in STATISTICS},
        "key_patches": seen,
    }


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=world)
    lr = torch.load(folder / "lr.pt")
    results: dict[str, Any] = {name: {} for name in NAMES}
    for name in NAMES:
        for kind in ("plain", "normalised", "synchronized"):
            learner = make_learner(name, normalised=kind != "plain")
            if kind == "synchronized":
                synchronize(learner)
            results[name][kind] = step(learner, lr.chunk(world)[rank], INDICES.chunk(world)[rank])
            for gradient in results[name][kind]["gradients"].values():
                dist.all_reduce(gradient)
                gradient /= world
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The joint batch and results of all learners, by rank."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save((torch.rand(6, 2, 3, 16, 16) * 255).round(), folder / "lr.pt")
    commands = [[sys.executable, __file__, str(rank), str(WORLD), folder] for rank in range(WORLD)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in commands]
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error.decode()
    return [{"lr": torch.load(folder / "lr.pt"), **torch.load(folder / f"{rank}.pt")} for rank in range(WORLD)]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_are_one_process_with_the_joint_batch(name: str, ranks: list[dict[str, Any]]):
    lr = ranks[0]["lr"]
    results = [result[name] for result in ranks]
    for kind in ("plain", "normalised", "synchronized"):
        first, second = (result[kind] for result in results)
        for key, value in first["buffers"].items():
            assert torch.equal(value, second["buffers"][key])
    for kind in ("plain", "synchronized"):
        compare([result[kind] for result in results], step(make_learner(name, normalised=kind != "plain"), lr, INDICES))
    if name == "moco":
        # Keys are encoded among those of the other rank.
        for rank, result in enumerate(results):
            assert torch.equal(result["plain"]["key_patches"][0], lr[rank::WORLD, 1])


def compare(ranks: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    """Both ranks' results with those of one process."""
    first, second = ranks
    for part in ("buffers", "statistics"):
        for key, value in expected[part].items():
            torch.testing.assert_close(first[part][key], value, rtol=0, atol=1e-10)
    torch.testing.assert_close((first["loss"] + second["loss"]) / 2, expected["loss"])
    torch.testing.assert_close((first["accuracy"] + second["accuracy"]) / 2, expected["accuracy"])
    torch.testing.assert_close(torch.cat((first["embedding"], second["embedding"])), expected["embedding"])
    largest = max(gradient.abs().max().item() for gradient in expected["gradients"].values())
    for key, gradient in expected["gradients"].items():  # Those of biases before a normalisation are 0.
        torch.testing.assert_close(first["gradients"][key], gradient, rtol=1e-6, atol=1e-10 * largest, msg=key)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
