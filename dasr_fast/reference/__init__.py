"""Every op in plain torch: the mathematics, the oracle of the other backends, and the fallback on any device.

The functions `<op>` are differentiable by themselves; `<op>_backward` and `<op>_grad_*` are the explicit
gradients that the registered ops use. Nothing is checked here: `dasr_fast.ops` does that.
"""

from dasr_fast.reference.add_noise import add_noise
from dasr_fast.reference.bicubic import bicubic_downsample, bicubic_upsample
from dasr_fast.reference.blur_downsample import blur_downsample
from dasr_fast.reference.channel_modulation import channel_modulation
from dasr_fast.reference.conv3x3 import conv3x3
from dasr_fast.reference.da_conv import da_conv
from dasr_fast.reference.da_half_block import da_half_block
from dasr_fast.reference.dynamic_depthwise_conv import dynamic_depthwise_conv
from dasr_fast.reference.gaussian_kernel import gaussian_kernel
from dasr_fast.reference.jpeg import jpeg
from dasr_fast.reference.normal_numbers import normal_numbers
from dasr_fast.reference.resize import resize

__all__ = [
    "add_noise",
    "bicubic_downsample",
    "bicubic_upsample",
    "blur_downsample",
    "channel_modulation",
    "conv3x3",
    "da_conv",
    "da_half_block",
    "dynamic_depthwise_conv",
    "gaussian_kernel",
    "jpeg",
    "normal_numbers",
    "resize",
]
