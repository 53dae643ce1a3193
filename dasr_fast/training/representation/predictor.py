"""Supervised prediction of the degradation."""

from torch import Tensor, nn

from dasr_fast.models import DegradationEncoder
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.training.representation.description import GREY_LEVELS, NUMBERS, describe
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, check_patches


class PredictorLearner(EncoderLearner):
    """The encoder learns to predict the blur and the noise level (`describe`), from the projection of its embedding.

    The loss is the mean absolute error. For the ablation: what contrast does without being told the degradation.

    Args:
        encoder: The encoder; a new one if None.
    """

    def __init__(self, encoder: DegradationEncoder | None = None) -> None:
        super().__init__(encoder)
        self.prediction = nn.Linear(EMBEDDING, NUMBERS)

    def forward(self, lr: Tensor, target: DegradationTarget) -> Learned:
        """See `Learner`; the second patches aren't used."""
        check_patches(lr)
        embedding, projection = self.encoder_q(lr[:, 0])
        error = (self.prediction(projection).float() - describe(target)).abs()
        blur, noise = error.detach().split((3, 1), dim=1)
        scores = {"blur_error_pixels": blur.mean(), "noise_error_grey_levels": noise.mean() * GREY_LEVELS}
        return Learned(embedding, error.mean(), scores)
