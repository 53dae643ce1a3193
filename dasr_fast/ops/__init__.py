"""The ops: checked, differentiable, with a choice of backend. One file each.

Every op works under `torch.compile(fullgraph=True)` and autocast, and accepts an empty batch. A backward pass gives
first derivatives. Forward-mode derivatives and the transforms of `torch.func` take the reference's mathematics, which
has all. `torch.utils.flop_counter` counts the ops' products, as convolutions without Winograd's filtering.
"""

from dasr_fast.ops.add_noise import add_noise
from dasr_fast.ops.blur_downsample import blur_downsample
from dasr_fast.ops.channel_modulation import channel_modulation
from dasr_fast.ops.conv3x3 import conv3x3
from dasr_fast.ops.da_conv import da_conv
from dasr_fast.ops.da_half_block import da_half_block
from dasr_fast.ops.dynamic_depthwise_conv import dynamic_depthwise_conv
from dasr_fast.ops.jpeg import jpeg
from dasr_fast.ops.normal_numbers import normal_numbers
from dasr_fast.ops.resize import resize

__all__ = [
    "add_noise",
    "blur_downsample",
    "channel_modulation",
    "conv3x3",
    "da_conv",
    "da_half_block",
    "dynamic_depthwise_conv",
    "jpeg",
    "normal_numbers",
    "resize",
]
