"""Learners by contrast: an image's patch is to be told from those of other degradations."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.degradation import Degradation
from dasr_fast.degradation.description import count
from dasr_fast.models import DegradationEncoder, MoCo
from dasr_fast.models.moco import Exchange, contrast, unit
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, check_patches
from dasr_fast.training.representation.ranks import collect, deal, gather, part, rank_and_world

NUMBERS = count(Degradation.quantities)
"""How many describe a degradation."""


class MoCoLearner(EncoderLearner):
    """Contrast with a queue of keys by an encoder that follows slowly: the paper's way, and the default.

    One step is that of `dasr_fast.models.MoCo`; besides, all ranks' keys go into every rank's queue, in the same order,
    and keys are encoded among other ranks' images (see `ranks.deal`). Batch statistics are each rank's, so losses are
    higher than those of one process with the joint batch; with `batch_statistics.synchronize` they are the same.
    Source: He et al., CVPR 2020.

    Args:
        moco: Its encoders, queue and pointer become the learner's, under the same names; a new one if None.
    """

    queue: Tensor
    queue_ptr: Tensor

    def __init__(self, moco: MoCo | None = None) -> None:
        moco = moco or MoCo()
        super().__init__(moco.encoder_q)
        self.encoder_k = moco.encoder_k
        self.register_buffer("queue", moco.queue)
        self.register_buffer("queue_ptr", moco.queue_ptr)
        self.momentum, self.temperature = moco.momentum, moco.temperature

    def forward(self, lr: Tensor, target: DegradationTarget | None = None) -> Learned:
        """See `Learner`; `target` isn't used.

        Raises:
            ValueError: The patches have another shape, or the joint batch is larger than the queue.
        """
        check_patches(lr)
        batch, size = lr.shape[0] * rank_and_world()[1], self.queue.shape[1]
        if batch > size:
            raise ValueError(f"MoCoLearner: a batch of {batch} over all ranks doesn't fit into a queue of {size} keys.")
        embedding, logits, labels = contrast(
            (self.encoder_q, self.encoder_k),
            (self.queue, self.queue_ptr),
            lr[:, 0],
            lr[:, 1],
            self.momentum,
            self.temperature,
            float32=True,
            exchange=Exchange(deal, collect, part),
        )
        return _learned(embedding, logits, labels)


class InBatchLearner(EncoderLearner):
    """Contrast of all patches of the joint batch with each other, through one encoder.

    Each patch is to find the other of its image among all others: "end-to-end" in the MoCo paper's Figure 2(a), the
    loss of SimCLR (Chen et al., ICML 2020). Batch normalisation takes its statistics from the rank's own patches,
    unless they are synchronized (`batch_statistics.synchronize`).

    Args:
        encoder: The encoder; a new one if None.
        temperature: Divides the logits.
    """

    def __init__(self, encoder: DegradationEncoder | None = None, *, temperature: float = 0.07) -> None:
        super().__init__(encoder)
        self.temperature = temperature

    def forward(self, lr: Tensor, target: DegradationTarget | None = None) -> Learned:
        """See `Learner`; `target` isn't used.

        Raises:
            ValueError: The patches have another shape, or come from a single image.
        """
        check_patches(lr)
        rank, world = rank_and_world()
        if lr.shape[0] * world < 2:
            raise ValueError("InBatchLearner: lr must hold patches of 2 images or more to contrast; got 1.")
        embedding, projection = self.encoder_q(lr.flatten(0, 1))
        with torch.autocast(lr.device.type, enabled=False):
            own = unit(projection)
            logits = own @ gather(own).T / self.temperature
        row = torch.arange(own.shape[0], device=lr.device)
        itself = rank * own.shape[0] + row
        other = rank * own.shape[0] + (row ^ 1)
        logits = logits.scatter(1, itself[:, None], float("-inf"))
        return _learned(embedding[::2], logits, other)


class MemoryBankLearner(EncoderLearner):
    """Contrast with a bank that holds a mean, over epochs, of each training image's projections.

    The positive is the image's own entry, the negatives are all others, and none is drawn: the mechanism of Wu et al.
    (CVPR 2018), with which MoCo is compared (its Figure 2(b)). Since entries come from earlier epochs, an image must
    have the same degradation whenever it comes. Fresh positives would allow fresh degradations, but negatives are old,
    and an encoder then tells one from the other by moving on at every step, and learns nothing else.

    Args:
        images: Number of training images.
        encoder: The encoder; a new one if None.
        temperature: Divides the logits.
        momentum: How much of an entry stays when its image comes; 0.5 as in that paper's code.
        dim: Width of the projection.

    Raises:
        ValueError: There are no images.
    """

    fixed_degradations = True
    bank: Tensor
    descriptions: Tensor

    def __init__(
        self,
        images: int,
        encoder: DegradationEncoder | None = None,
        *,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int = 256,
    ) -> None:
        if images < 1:
            raise ValueError(f"MemoryBankLearner: images must be at least 1; got {images}.")
        super().__init__(encoder)
        self.temperature, self.momentum = temperature, momentum
        self.register_buffer("bank", F.normalize(torch.randn(images, dim), dim=1))
        self.register_buffer("descriptions", torch.full((images, NUMBERS), -1.0))

    def forward(self, lr: Tensor, target: DegradationTarget) -> Learned:
        """See `Learner`; the second patches aren't used.

        Raises:
            ValueError: The patches have another shape.
            RuntimeError: An image came before with another degradation.
        """
        check_patches(lr)
        embedding, projection = self.encoder_q(lr[:, 0])
        with torch.autocast(lr.device.type, enabled=False):
            query = unit(projection)
            # The bank changes before the backward pass needs it.
            logits = query @ self.bank.T.clone() / self.temperature
        self._store(gather(target.indices), gather(query.detach()), gather(target.numbers))
        return _learned(embedding, logits, target.indices)

    @torch.no_grad()
    def _store(self, indices: Tensor, queries: Tensor, descriptions: Tensor) -> None:
        # An image that comes twice is stored as it came last, whatever the order of writing.
        same = indices[:, None] == indices
        last = (same * torch.arange(len(indices), device=indices.device)).amax(1)
        before = self.descriptions[indices]
        new = before[:, -1:] < 0  # No noise level is negative.
        same_as_before = (new | ((before - descriptions).abs() < 1e-3)).all()
        message = "MemoryBankLearner: each image must have the same degradation whenever it comes; one has another."
        if hasattr(torch, "_assert_async"):  # Private, and doesn't wait for a GPU.
            torch._assert_async(same_as_before, message)
        elif not same_as_before:
            raise RuntimeError(message)
        self.descriptions.index_copy_(0, indices, descriptions[last])
        moved = self.momentum * self.bank[indices] + (1 - self.momentum) * queries[last]
        self.bank.index_copy_(0, indices, unit(moved))


def _learned(embedding: Tensor, logits: Tensor, labels: Tensor) -> Learned:
    """Cross-entropy of logits `[B, K]` with positives in columns `labels` `[B]`, and how often those are largest."""
    accuracy = (logits.argmax(1) == labels).float().mean()
    return Learned(embedding, F.cross_entropy(logits, labels), {"contrast_accuracy": accuracy})
