"""Contrast within the batch."""

import torch
from torch import Tensor

from dasr_fast.models import DegradationEncoder
from dasr_fast.training.representation.learner import (
    DegradationTarget,
    EncoderLearner,
    Learned,
    check_patches,
    contrastive_loss,
    unit,
)
from dasr_fast.training.representation.ranks import gather, rank_and_world


class InBatchLearner(EncoderLearner):
    """Contrast of all patches of the joint batch with each other, through one encoder.

    Each patch is to find the other of its image among all others: "end-to-end" in the MoCo paper's Figure 2(a), the
    loss of SimCLR (Chen et al., ICML 2020). Batch normalisation takes its statistics from the rank's own patches,
    unless they are synchronized (`batch_statistics.synchronize`).

    Args:
        encoder: The encoder; a new one if None.
        temperature: By which the logits are divided.
    """

    def __init__(self, encoder: DegradationEncoder | None = None, *, temperature: float = 0.07) -> None:
        super().__init__(encoder)
        self.temperature = temperature

    def forward(self, lr: Tensor, target: DegradationTarget | None = None) -> Learned:
        """See `Learner`; `target` isn't used.

        Raises:
            ValueError: The patches have another shape, or are of a single image.
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
        return Learned(embedding[::2], *contrastive_loss(logits, other))
