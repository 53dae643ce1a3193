"""Contrast with a memory bank."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.models import DegradationEncoder
from dasr_fast.training.representation.description import NUMBERS, describe
from dasr_fast.training.representation.learner import (
    DegradationTarget,
    EncoderLearner,
    Learned,
    check_patches,
    contrastive_loss,
    unit,
)
from dasr_fast.training.representation.ranks import gather


class MemoryBankLearner(EncoderLearner):
    """Contrast with a bank that holds a mean, over epochs, of each training image's projections.

    The positive is the image's own entry, the negatives are all others, and none is drawn: the mechanism of Wu et al.
    (CVPR 2018), with which MoCo is compared (its Figure 2(b)). As entries are of earlier epochs, an image must have the
    same degradation whenever it comes. Fresh positives would allow fresh degradations, but negatives are old, and an
    encoder then tells one from the other by moving on at every step, and learns nothing else.

    Args:
        images: Number of training images.
        encoder: The encoder; a new one if None.
        temperature: By which the logits are divided.
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
        self._store(gather(target.indices), gather(query.detach()), gather(describe(target)))
        return Learned(embedding, *contrastive_loss(logits, target.indices))

    @torch.no_grad()
    def _store(self, indices: Tensor, queries: Tensor, descriptions: Tensor) -> None:
        # An image that comes twice is stored as it came last, whatever the order of writing.
        same = indices[:, None] == indices
        last = (same * torch.arange(len(indices), device=indices.device)).amax(1)
        before = self.descriptions[indices]
        new = before[:, -1:] < 0  # No noise level is.
        same_as_before = (new | ((before - descriptions).abs() < 1e-3)).all()
        message = "MemoryBankLearner: each image must have the same degradation whenever it comes; one has another."
        if hasattr(torch, "_assert_async"):  # Private, and doesn't wait for a GPU.
            torch._assert_async(same_as_before, message)
        elif not same_as_before:
            raise RuntimeError(message)
        self.descriptions.index_copy_(0, indices, descriptions[last])
        moved = self.momentum * self.bank[indices] + (1 - self.momentum) * queries[last]
        self.bank.index_copy_(0, indices, unit(moved))
