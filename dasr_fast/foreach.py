"""Lists of tensors updated together."""

from collections.abc import Sequence

import torch
from torch import Tensor


def lerp_(tensors: Sequence[Tensor], targets: Sequence[Tensor], weight: float) -> None:
    """Move each tensor towards its target, of the same shape, by the fraction `weight` of the way, in place."""
    if hasattr(torch, "_foreach_lerp_"):  # Private, and on a GPU one launch for all.
        torch._foreach_lerp_(list(tensors), list(targets), weight)
        return
    for tensor, target in zip(tensors, targets, strict=True):
        tensor.lerp_(target, weight)
