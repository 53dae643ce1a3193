"""Learners without contrast, for the ablation: told the degradation, or taught by the SR loss alone."""

import torch
from torch import Tensor, nn

from dasr_fast.degradation import Degradation
from dasr_fast.degradation.description import Quantity, count
from dasr_fast.models import DegradationEncoder
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, Learner, check_patches

Quantities = tuple[Quantity, ...]


class PredictorLearner(EncoderLearner):
    """The encoder learns to predict the numbers that describe the degradation, from the projection of its embedding.

    The loss is the mean absolute error: what contrast does without being told the degradation.

    Args:
        encoder: The encoder; a new one if None.
        quantities: What the numbers measure.
    """

    def __init__(
        self, encoder: DegradationEncoder | None = None, quantities: Quantities = Degradation.quantities
    ) -> None:
        super().__init__(encoder)
        self.quantities = quantities
        self.prediction = nn.Linear(EMBEDDING, count(quantities))

    def forward(self, lr: Tensor, target: DegradationTarget) -> Learned:
        """See `Learner`; the second patches aren't used."""
        check_patches(lr)
        embedding, projection = self.encoder_q(lr[:, 0])
        error = (self.prediction(projection).float() - target.numbers).abs()
        scores: dict[str, list[Tensor]] = {}
        parts = error.detach().split([quantity.numbers for quantity in self.quantities], dim=1)
        for quantity, part in zip(self.quantities, parts, strict=True):
            scores.setdefault(quantity.name, []).append(part.mean() * quantity.unit)
        return Learned(embedding, error.mean(), {name: torch.stack(found).mean() for name, found in scores.items()})


class OracleLearner(Learner):
    """An embedding of the numbers that describe the degradation by a small MLP, taught by the SR loss.

    The bound of what a representation can give; it never sees an image.
    """

    learns_alone = False

    def __init__(self, quantities: Quantities = Degradation.quantities) -> None:
        super().__init__()
        numbers = count(quantities)
        self.mlp = nn.Sequential(nn.Linear(numbers, EMBEDDING), nn.LeakyReLU(0.1), nn.Linear(EMBEDDING, EMBEDDING))

    def forward(self, lr: Tensor, target: DegradationTarget) -> Learned:
        """See `Learner`; the loss is 0."""
        check_patches(lr)
        embedding = self.embed(lr[:, 0], target)
        return Learned(embedding, embedding.new_zeros(()), {})

    def embed(self, lr: Tensor, target: DegradationTarget) -> Tensor:
        """Embedding `[B, 256]` of the degradations; the images aren't used."""
        embedding: Tensor = self.mlp(target.numbers)
        return embedding


class SRLossLearner(EncoderLearner):
    """The encoder is taught by the SR loss alone: the paper's network without degradation representation learning.

    Its projection isn't used, and the projection's parameters are frozen.
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
