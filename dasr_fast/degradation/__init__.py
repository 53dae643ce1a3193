"""Degradation of HR images into LR ones, on any device."""

from dasr_fast.degradation.bicubic import bicubic_downsample, bicubic_upsample
from dasr_fast.degradation.blur import Blur, Ringing
from dasr_fast.degradation.camera import Camera
from dasr_fast.degradation.compression import Jpeg
from dasr_fast.degradation.degradation import Degradation, image_generator
from dasr_fast.degradation.gaussian_kernel import gaussian_kernel
from dasr_fast.degradation.noise import Noise
from dasr_fast.degradation.part import Part
from dasr_fast.degradation.pipeline import AnyOrder, Chain, Pipeline
from dasr_fast.degradation.presets import preset
from dasr_fast.degradation.resizing import Resize

__all__ = [
    "AnyOrder",
    "Blur",
    "Camera",
    "Chain",
    "Degradation",
    "Jpeg",
    "Noise",
    "Part",
    "Pipeline",
    "Resize",
    "Ringing",
    "bicubic_downsample",
    "bicubic_upsample",
    "gaussian_kernel",
    "image_generator",
    "preset",
]
