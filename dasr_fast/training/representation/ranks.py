"""Batches that are spread over the processes of a distributed training; every rank has as many images."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def rank_and_world() -> tuple[int, int]:
    """Number of this process, and of how many; 0 and 1 without `torch.distributed`."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather(x: Tensor) -> Tensor:
    """The joint batch `[world * B, ...]` of every rank's `[B, ...]`, by rank; `x` itself if there is one process.

    Its gradient is the sum of the ranks': the mean over ranks that DistributedDataParallel takes is then the
    gradient of the mean of the ranks' losses.
    """
    if rank_and_world()[1] == 1:
        return x
    joint: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return joint


def part(joint: Tensor) -> Tensor:
    """This rank's part `[B, ...]` of a joint batch."""
    rank, world = rank_and_world()
    return joint.chunk(world)[rank]


def deal(x: Tensor) -> Tensor:
    """As many images of the joint batch, dealt out one by one as cards are: from each rank some.

    It serves as the random order of MoCo v2 does (He et al., 2020, section 3.3 "Shuffling BN"): the batch
    normalisation of keys has statistics of other images than that of their queries, so that those can't give the
    positives away. The order is always the same, as images come in a random one.
    """
    rank, world = rank_and_world()
    return gather(x)[rank::world]


def collect(x: Tensor) -> Tensor:
    """The joint batch, by rank, of images that were dealt out."""
    _, world = rank_and_world()
    joint = gather(x)
    return joint.view(world, -1, *joint.shape[1:]).transpose(0, 1).flatten(0, 1)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        _, world = rank_and_world()
        joint = x.new_empty(world * x.shape[0], *x.shape[1:])
        dist.all_gather_into_tensor(joint, x.contiguous())
        return joint

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return part(total)
