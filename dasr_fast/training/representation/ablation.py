"""Learners without contrast, for the ablation: told the degradation, or taught by the SR loss alone."""

import torch
from torch import Tensor, nn

from dasr_fast.models import DegradationEncoder
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.training.representation.learner import DegradationTarget, EncoderLearner, Learned, Learner, check_patches

NUMBERS = 4
"""Numbers that describe a degradation."""

GREY_LEVELS = 6.25
"""Grey levels of noise that count as one pixel of blur: the paper has 4 pixels and 25 grey levels at most."""


def describe(target: DegradationTarget) -> Tensor:
    """Blur and noise `[B, 4]`: xx, xy and yy of the kernel's covariance's square root, and the noise level.

    The square root of the covariance is in pixels, as widths are, and has no jump where angles have one. Together
    these tell Gaussian kernels and noise completely; they tell only the extent of other kernels.
    """
    kernels = target.kernels.float()
    kernels = kernels / kernels.sum((1, 2), keepdim=True)
    rows, columns = (torch.arange(size, dtype=torch.float32, device=kernels.device) for size in kernels.shape[1:])
    y = rows[:, None] - (kernels.sum(2) * rows).sum(1)[:, None, None]
    x = columns - (kernels.sum(1) * columns).sum(1)[:, None, None]
    xx, xy, yy = ((kernels * product).sum((1, 2)) for product in (x * x, x * y, y * y))
    # Cayley and Hamilton: the square root of M is (M + sqrt(det M)) / sqrt(tr M + 2 sqrt(det M)).
    s = (xx * yy - xy * xy).clamp(min=0).sqrt()
    t = (xx + yy + 2 * s).clamp(min=1e-12).sqrt()
    return torch.stack(((xx + s) / t, xy / t, (yy + s) / t, target.noise_levels.float() / GREY_LEVELS), dim=1)


class PredictorLearner(EncoderLearner):
    """The encoder learns to predict the blur and the noise level (`describe`), from the projection of its embedding.

    The loss is the mean absolute error: what contrast does without being told the degradation.
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


class OracleLearner(Learner):
    """An embedding of the true blur and noise level (`describe`) by a small MLP, taught by the SR loss.

    The bound of what a representation can give; it never sees an image.
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
