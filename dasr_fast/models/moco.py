"""Momentum contrast of degradations."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast.foreach import lerp_
from dasr_fast.models.encoder import DegradationEncoder


class MoCo(nn.Module):
    """A query encoder, a key encoder that follows it slowly, and a queue of keys as negatives.

    The released module `MoCo`, with its parameter and buffer names (He et al., CVPR 2020; the paper's degradation
    representation learning). Unlike there, the key encoder is updated in place, the queue takes batches of any size,
    nothing waits for the device, and DataParallel over several devices, which would lose the updates, is refused.

    Args:
        make_encoder: Called twice for the two encoders, each of which returns an embedding and a projection.
        dim: Width of the projection.
        queue_size: Number of keys kept.
        momentum: Share of the key encoder that stays at each step.
        temperature: Divides the logits.
    """

    queue: Tensor
    queue_ptr: Tensor

    def __init__(
        self,
        make_encoder: Callable[[], DegradationEncoder] = DegradationEncoder,
        dim: int = 256,
        queue_size: int = 8192,
        momentum: float = 0.999,
        temperature: float = 0.07,
    ) -> None:
        super().__init__()
        self.momentum, self.temperature = momentum, temperature
        self.encoder_q = make_encoder()
        self.encoder_k = make_encoder().requires_grad_(False)
        self.copy_query_to_key()
        self.register_buffer("queue", F.normalize(torch.randn(dim, queue_size), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    @torch.no_grad()
    def copy_query_to_key(self) -> None:
        """Set the key encoder to the query encoder, as before the first step."""
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())

    def forward(self, im_q: Tensor, im_k: Tensor) -> tuple[Tensor, Tensor, Tensor] | Tensor:
        """Contrast two patches of each image.

        Args:
            im_q: Query patches `[B, 3, H, W]` in 0 to 255.
            im_k: Key patches `[B, 3, H, W]` with the same degradations; ignored in evaluation mode.

        Returns:
            In training mode the query embeddings `[B, 256]`, the logits `[B, 1 + queue_size]` (the positive first,
            divided by the temperature) and the labels `[B]`, all zero; the key encoder and the queue are updated. In
            evaluation mode the embeddings alone.

        Raises:
            ValueError: The batch is larger than the queue.
            RuntimeError: In training mode under DataParallel over several devices.
        """
        if not self.training:
            return self.encoder_q.embed(im_q)
        if im_k.shape[0] > self.queue.shape[1]:
            raise ValueError(
                f"MoCo: a batch of {im_k.shape[0]} doesn't fit into a queue of {self.queue.shape[1]} keys."
            )
        if next(self.encoder_k.parameters(), None) is None:  # A copy by DataParallel has no parameters.
            raise RuntimeError(
                "MoCo: DataParallel would lose the updates of the key encoder and the queue; train with "
                "DistributedDataParallel."
            )
        encoders, queue = (self.encoder_q, self.encoder_k), (self.queue, self.queue_ptr)
        return contrast(encoders, queue, im_q, im_k, self.momentum, self.temperature)


def _same(x: Tensor) -> Tensor:
    return x


class Exchange(NamedTuple):
    """How the processes that share a batch exchange keys; one process alone has nothing to exchange.

    Attributes:
        deal: Key patches `[B, ...]` of this process to those that it encodes.
        collect: The keys of these to all keys of the joint batch, in its order.
        part: All keys to those of this process's patches.
    """

    deal: Callable[[Tensor], Tensor] = _same
    collect: Callable[[Tensor], Tensor] = _same
    part: Callable[[Tensor], Tensor] = _same


ALONE = Exchange()


def contrast(
    encoders: tuple[nn.Module, nn.Module],
    queue: tuple[Tensor, Tensor],
    im_q: Tensor,
    im_k: Tensor,
    momentum: float,
    temperature: float,
    *,
    float32: bool = False,
    exchange: Exchange = ALONE,
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of momentum contrast, which updates the key encoder and the queue in place.

    Args:
        encoders: For queries and keys; each returns an embedding and a projection `[B, dim]`.
        queue: Keys `[dim, K]`, and `[1]` the column of the oldest.
        im_q: Query patches `[B, 3, H, W]`.
        im_k: Key patches `[B, 3, H, W]`.
        momentum: Share of the key encoder that stays.
        temperature: Divides the logits.
        float32: Whether autocast leaves projections and logits in float32.
        exchange: What several processes exchange.

    Returns:
        Embeddings, logits `[B, 1 + K]` (the positive first) and labels `[B]`, all zero.
    """
    encoder_q, encoder_k = encoders
    keys, oldest = queue
    normalize = unit if float32 else F.normalize
    embedding, query = encoder_q(im_q)
    query = normalize(query)
    with torch.no_grad():
        lerp_(list(encoder_k.parameters()), list(encoder_q.parameters()), 1 - momentum)
        new = exchange.collect(normalize(encoder_k(exchange.deal(im_k))[1]))
    with torch.autocast(query.device.type, enabled=False) if float32 else nullcontext():
        positive = (query * exchange.part(new)).sum(1, keepdim=True)
        # The queue changes before the backward pass needs it.
        negative = query @ keys.to(query.dtype, copy=True)
        logits = torch.cat((positive, negative), dim=1) / temperature
    with torch.no_grad():
        columns = (oldest + torch.arange(new.shape[0], device=new.device)) % keys.shape[1]
        keys.index_copy_(1, columns, new.T.to(keys.dtype))
        oldest.add_(new.shape[0]).remainder_(keys.shape[1])
    return embedding, logits, torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)


def unit(projection: Tensor) -> Tensor:
    """Vectors `[B, dim]` scaled to length 1, float32 at least."""
    return F.normalize(projection if projection.dtype == torch.float64 else projection.float())
