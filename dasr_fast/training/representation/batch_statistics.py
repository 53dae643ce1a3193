"""Where batch normalisation takes its mean and variance from."""

import torch
from torch import Tensor, nn

from dasr_fast.reference.layout import accumulation_dtype
from dasr_fast.training.representation.ranks import gather, rank_and_world


class SynchronizedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with the mean and variance of all ranks' images, which each have as many.

    It is what one process with the joint batch computes, in evaluation mode too. `nn.SyncBatchNorm` does this on GPUs
    alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Features `[B, C, H, W]` to features."""
        world = rank_and_world()[1]
        if not self.training or world == 1:
            return super().forward(x)
        wide = x.to(accumulation_dtype(x.dtype))
        # Each rank's own variance, then that of their means: a difference of squares may fall below zero.
        variances, means = gather(torch.stack(torch.var_mean(wide, (0, 2, 3), correction=0))[None]).unbind(1)
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        with torch.no_grad():
            count = world * x.numel() / x.shape[1]
            assert self.momentum is not None
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
            self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return torch.addcmul(shift[:, None, None], wide, scale[:, None, None]).to(x.dtype)


class KeptBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with its running mean and variance in training mode too, where they stay as they are."""

    def train(self, mode: bool = True) -> "KeptBatchNorm":
        """Nothing that batch normalisation does in training mode."""
        return super().train(False)


def synchronize(network: nn.Module) -> None:
    """Let every batch normalisation of a network take its statistics from all processes; nothing else changes."""
    for module in network.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SynchronizedBatchNorm


def keep(network: nn.Module) -> None:
    """Let every batch normalisation of a network keep its running statistics, and use them."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = KeptBatchNorm
            module.eval()
