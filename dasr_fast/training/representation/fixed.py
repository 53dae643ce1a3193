"""A representation that was learned before, and doesn't change any more."""

import torch
from torch import Tensor

from dasr_fast.models import DegradationEncoder
from dasr_fast.training.representation.batch_statistics import keep
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, check_patches


class FixedLearner(EncoderLearner):
    """The encoder isn't trained, and its batch normalisation keeps its statistics."""

    learns_alone = False

    def __init__(self, encoder: DegradationEncoder | None = None) -> None:
        super().__init__(encoder)
        keep(self.encoder_q.requires_grad_(False))

    def forward(self, lr: Tensor, target: DegradationTarget | None = None) -> Learned:
        """See `Learner`; the loss is 0, and neither `target` nor the second patches are used."""
        check_patches(lr)
        with torch.no_grad():
            embedding = self.encoder_q.embed(lr[:, 0])
        return Learned(embedding, embedding.new_zeros(()), {})
