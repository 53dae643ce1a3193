"""What all learners of the representation have in common."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from dasr_fast.models import DegradationEncoder


class DegradationTarget(NamedTuple):
    """How the images of a batch were degraded.

    Attributes:
        numbers: What `describe` of the degradation says, `[B, K]`.
        indices: Number of the training image that each comes from, `[B]`, int64.
    """

    numbers: Tensor
    indices: Tensor


class Learned(NamedTuple):
    """Result of a learner's step.

    Attributes:
        embedding: `[B, 256]` for the first patches; what the SR network gets.
        loss: `[]`, the mean over this rank's images.
        scores: Numbers `[]` to watch, without gradient.
    """

    embedding: Tensor
    loss: Tensor
    scores: dict[str, Tensor]


class Learner(nn.Module, ABC):
    """Makes an embedding of the degradation, and the loss by which it is learned.

    Attributes:
        learns_alone: Whether the loss teaches the embedding without the SR network; if not, training has no first
            stage.
        fixed_degradations: Whether each training image must have the same degradation whenever it comes.
    """

    learns_alone = True
    fixed_degradations = False

    @property
    def encoder(self) -> DegradationEncoder | None:
        """The encoder that is learned, if there is one."""
        return None

    @abstractmethod
    def forward(self, lr: Tensor, target: DegradationTarget) -> Learned:
        """One step of training, which may change buffers.

        Args:
            lr: Two patches of each image, with the same degradation, `[B, 2, 3, H, W]` in 0 to 255.
            target: Their degradations.

        Raises:
            ValueError: The patches have another shape.
        """

    @abstractmethod
    def embed(self, lr: Tensor, target: DegradationTarget) -> Tensor:
        """Embedding `[B, 256]` of images `[B, 3, H, W]` in 0 to 255, for evaluation; nothing changes."""


class EncoderLearner(Learner):
    """A learner with an encoder (a new one if None), under the released model's name."""

    def __init__(self, encoder: DegradationEncoder | None = None) -> None:
        super().__init__()
        self.encoder_q = encoder or DegradationEncoder()

    @property
    def encoder(self) -> DegradationEncoder:
        return self.encoder_q

    def embed(self, lr: Tensor, target: DegradationTarget | None = None) -> Tensor:
        return self.encoder_q.embed(lr)


def check_patches(lr: Tensor) -> None:
    """Raises ValueError if `lr` isn't `[B, 2, 3, H, W]`."""
    if lr.dim() != 5 or tuple(lr.shape[1:3]) != (2, 3) or 0 in lr.shape:
        raise ValueError(f"lr must be [B, 2, 3, H, W], two patches of each image; got {list(lr.shape)}.")
