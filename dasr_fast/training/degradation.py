"""The degradation of a training run."""

from dasr_fast.degradation import Chain, Degradation, Pipeline, preset
from dasr_fast.training.configuration import Configuration


def make_degradation(c: Configuration) -> Degradation | Pipeline:
    """What the settings say: a preset, the paper's with their kernels and noise, or nothing if LR images are given."""
    if c.lr is not None:
        return Pipeline(1, Chain(()))
    if c.degradation == "paper":
        return Degradation(c.scale, c.kernel, c.noise, sigma=(c.sigma_min, c.largest_sigma), mode=c.mode)
    return preset(c.degradation, c.scale)
