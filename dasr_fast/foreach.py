"""Lists of tensors computed together, in few launches where PyTorch has its private functions for that."""

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


def norms_of_sums(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """Euclidean norm of the sum of each tensor and the other of its shape, `[N]`."""
    if hasattr(torch, "_foreach_add") and hasattr(torch, "_foreach_norm"):
        return torch.stack(torch._foreach_norm(torch._foreach_add(list(tensors), list(others))))
    return torch.stack([(tensor + other).norm() for tensor, other in zip(tensors, others, strict=True)])
