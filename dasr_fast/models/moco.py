"""Momentum contrast of degradations."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast.foreach import lerp_
from dasr_fast.models.encoder import DegradationEncoder


class MoCo(nn.Module):
    """A query encoder, a key encoder that follows it slowly, and a queue of keys as negatives.

    The released module `MoCo`, with its parameter and buffer names (He et al., CVPR 2020; the paper's degradation
    representation learning). Unlike there, the key encoder is updated in place, the queue takes batches of any
    size, nothing waits for the device, and DataParallel over several devices, which would lose the updates, is
    refused.

    Args:
        make_encoder: Called twice for the two encoders, each of which returns an embedding and a projection.
        dim: Width of the projection.
        queue_size: Number of keys kept.
        momentum: Of the key encoder.
        temperature: By which the logits are divided.
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
            In training mode the query embeddings `[B, 256]`, the logits `[B, 1 + queue_size]` (the positive
            first, divided by the temperature) and the labels `[B]`, all zero; the key encoder and the queue are
            updated. In evaluation mode the embeddings alone.

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
        embedding, query = self.encoder_q(im_q)
        query = F.normalize(query, dim=1)
        with torch.no_grad():
            self._update_key_encoder()
            key = F.normalize(self.encoder_k(im_k)[1], dim=1)
        logits, labels = contrast(query, key, self.queue, self.temperature)
        enqueue(self.queue, self.queue_ptr, key)
        return embedding, logits, labels

    def _update_key_encoder(self) -> None:
        if next(self.encoder_k.parameters(), None) is None:  # A copy by DataParallel has no parameters.
            raise RuntimeError(
                "MoCo: DataParallel would lose the updates of the key encoder and the queue; train with "
                "DistributedDataParallel."
            )
        update_key_encoder(self.encoder_k, self.encoder_q, self.momentum)


@torch.no_grad()
def update_key_encoder(encoder_k: nn.Module, encoder_q: nn.Module, momentum: float) -> None:
    """`momentum` of the key encoder's weights and the rest of the query encoder's, in place."""
    keys: list[Tensor] = list(encoder_k.parameters())
    queries: list[Tensor] = list(encoder_q.parameters())
    lerp_(keys, queries, 1 - momentum)


def contrast(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Logits `[B, 1 + K]` and labels `[B]`, all zero, of unit vectors.

    Args:
        query: Projections `[B, dim]`.
        key: Projections `[B, dim]` of the positives.
        queue: `[dim, K]`, the negatives; it may change after the call.
        temperature: By which the logits are divided.
    """
    positive = (query * key).sum(1, keepdim=True)
    # The queue changes before the backward pass needs it.
    negative = query @ queue.to(query.dtype, copy=True)
    logits = torch.cat((positive, negative), dim=1) / temperature
    return logits, torch.zeros(logits.shape[0], dtype=torch.long, device=logits.device)


@torch.no_grad()
def enqueue(queue: Tensor, queue_ptr: Tensor, key: Tensor) -> None:
    """Put the keys `[B, dim]` into the queue `[dim, K]`, in place of the oldest."""
    columns = (queue_ptr + torch.arange(key.shape[0], device=key.device)) % queue.shape[1]
    queue.index_copy_(1, columns, key.T.to(queue.dtype))
    queue_ptr.add_(key.shape[0]).remainder_(queue.shape[1])
