"""Degradation of HR images into LR ones, on any device."""

from dasr_fast.degradation.bicubic import bicubic_downsample, bicubic_upsample
from dasr_fast.degradation.degradation import Degradation
from dasr_fast.degradation.gaussian_kernel import gaussian_kernel
from dasr_fast.degradation.seeding import image_generator

__all__ = ["Degradation", "bicubic_downsample", "bicubic_upsample", "gaussian_kernel", "image_generator"]
