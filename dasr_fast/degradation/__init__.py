"""Degradation of HR images into LR ones, on any device."""

from dasr_fast.degradation.bicubic import bicubic_downsample, bicubic_upsample
from dasr_fast.degradation.degradation import Degradation, image_generator
from dasr_fast.degradation.gaussian_kernel import gaussian_kernel
from dasr_fast.degradation.pipeline import Pipeline
from dasr_fast.degradation.presets import preset

__all__ = [
    "Degradation",
    "Pipeline",
    "bicubic_downsample",
    "bicubic_upsample",
    "gaussian_kernel",
    "image_generator",
    "preset",
]
