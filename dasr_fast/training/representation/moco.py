"""Momentum contrast."""

import torch
from torch import Tensor

from dasr_fast.models import MoCo
from dasr_fast.models.moco import contrast, enqueue, update_key_encoder
from dasr_fast.training.representation.learner import (
    DegradationTarget,
    EncoderLearner,
    Learned,
    check_patches,
    contrastive_loss,
    unit,
)
from dasr_fast.training.representation.ranks import collect, deal, part, rank_and_world


class MoCoLearner(EncoderLearner):
    """Contrast with a queue of keys by an encoder that follows slowly: the paper's way, and the default.

    One step is that of `dasr_fast.models.MoCo`; besides, all ranks' keys go into every rank's queue, in the same
    order, and keys are encoded among other ranks' images (see `ranks.deal`). Batch statistics are each rank's, so that
    losses are higher than those of one process with the joint batch; with `batch_statistics.synchronize` they are the
    same. Source: He et al., CVPR 2020.

    Args:
        moco: Whose encoders, queue and pointer are used, in place and under the same names; a new one if None.
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
        embedding, query = self.encoder_q(lr[:, 0])
        with torch.no_grad():
            update_key_encoder(self.encoder_k, self.encoder_q, self.momentum)
            keys = collect(unit(self.encoder_k(deal(lr[:, 1]))[1]))
        with torch.autocast(lr.device.type, enabled=False):
            logits, labels = contrast(unit(query), part(keys), self.queue, self.temperature)
        enqueue(self.queue, self.queue_ptr, keys)
        return Learned(embedding, *contrastive_loss(logits, labels))
