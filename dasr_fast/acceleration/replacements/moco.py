"""The released `MoCo` and its like."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dasr_fast.acceleration.replacement import PROBED, Plan, Proposal
from dasr_fast.models.moco import contrast


@dataclass(frozen=True)
class MoCoPlan(Plan):
    """The momentum update in place and in few operations, and nothing that waits for the device, in training.

    Attributes:
        encoder_q, encoder_k: Names of the encoders of queries and keys.
        queue, queue_ptr: Names of the buffers.
        momentum, temperature: Names of these numbers.
    """

    released = "MoCo"
    encoder_q: str
    encoder_k: str
    queue: str
    queue_ptr: str
    momentum: str
    temperature: str

    @classmethod
    def proposals(cls, candidate: Any) -> Iterator[Proposal]:
        buffers = dict(candidate.named_buffers(recurse=False))
        queues = [name for name, buffer in buffers.items() if buffer.dim() == 2 and buffer.is_floating_point()]
        pointers = [name for name, buffer in buffers.items() if buffer.shape == (1,) and buffer.dtype == torch.long]
        children = {name: _shapes(child) for name, child in candidate.named_children()}
        encoders = [pair for pair in itertools.permutations(children, 2) if children[pair[0]] == children[pair[1]]]
        numbers = [name for name, value in vars(candidate).items() if isinstance(value, float)]
        plans = [
            cls(*encoder, queue, pointer, *number)
            for encoder in encoders
            for queue, pointer in itertools.product(queues, pointers)
            for number in itertools.permutations(numbers, 2)
        ]
        if plans:
            yield Proposal((_patches, _patches), plans)

    def call(self, replaced: nn.Module, original: Callable[..., Any], /, *arguments: Any, **keywords: Any) -> Any:
        is_pair = len(arguments) == 2 and not keywords and all(isinstance(images, Tensor) for images in arguments)
        if not replaced.training or not is_pair:
            return original(*arguments, **keywords)
        key_encoder = replaced.get_submodule(self.encoder_k)
        queue = replaced.get_buffer(self.queue)
        is_replica = next(key_encoder.parameters(), None) is None  # Of DataParallel: it can't be updated in place.
        if is_replica or arguments[1].shape[0] > queue.shape[1]:
            return original(*arguments, **keywords)
        encoders = replaced.get_submodule(self.encoder_q), key_encoder
        pointer = replaced.get_buffer(self.queue_ptr)
        im_q, im_k = arguments
        momentum, temperature = getattr(replaced, self.momentum), getattr(replaced, self.temperature)
        return contrast(encoders, (queue, pointer), im_q, im_k, momentum, temperature)


def _shapes(module: nn.Module) -> list[tuple[str, torch.Size]]:
    return [(name, parameter.shape) for name, parameter in module.named_parameters()]


def _patches(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    query, key = 255 * torch.rand(2, 2, 3, 16, 16, generator=generator, **PROBED)
    return query, key
