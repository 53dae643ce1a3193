"""No learning of the representation but through the SR network."""

from torch import Tensor

from dasr_fast.models import DegradationEncoder
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, check_patches


class SRLossLearner(EncoderLearner):
    """The encoder is taught by the SR loss alone: the paper's network without degradation representation learning.

    Args:
        encoder: The encoder; a new one if None. Its projection isn't used, and its parameters are frozen.
    """

    learns_alone = False

    def __init__(self, encoder: DegradationEncoder | None = None) -> None:
        super().__init__(encoder)
        self.encoder_q.mlp.requires_grad_(False)

    def forward(self, lr: Tensor, target: DegradationTarget | None = None) -> Learned:
        """See `Learner`; the loss is 0, and neither `target` nor the second patches are used."""
        check_patches(lr)
        embedding = self.encoder_q.embed(lr[:, 0])
        return Learned(embedding, embedding.new_zeros(()), {})
