"""One step of each learner by contrast in one of several processes: `step_on_ranks.py RANK WORLD FOLDER`.

`FOLDER` has `lr.pt`, the joint batch; the result is written there. Gradients are averaged over the processes, as
DistributedDataParallel does.
"""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from dasr_fast.degradation import Degradation
from dasr_fast.models import MoCo
from dasr_fast.training.representation import LEARNERS, DegradationTarget, Learner
from dasr_fast.training.representation.batch_statistics import synchronize

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


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
