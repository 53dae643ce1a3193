"""The true degradation in place of a representation that is learned from images."""

from torch import Tensor, nn

from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.training.representation.description import NUMBERS, describe
from dasr_fast.training.representation.learner import DegradationTarget, Learned, Learner, check_patches


class OracleLearner(Learner):
    """An embedding of the true blur and noise level (`describe`) by a small MLP, taught by the SR loss.

    For the ablation, as the bound of what a representation can give; it never sees an image.
    """

    learns_alone = False

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(NUMBERS, EMBEDDING), nn.LeakyReLU(0.1), nn.Linear(EMBEDDING, EMBEDDING))

    def forward(self, lr: Tensor, target: DegradationTarget) -> Learned:
        """See `Learner`; the loss is 0."""
        check_patches(lr)
        embedding = self.embed(lr[:, 0], target)
        return Learned(embedding, embedding.new_zeros(()), {})

    def embed(self, lr: Tensor, target: DegradationTarget) -> Tensor:
        """Embedding `[B, 256]` of the degradations; the images aren't used."""
        embedding: Tensor = self.mlp(describe(target))
        return embedding
