"""Layers of DASR with the released model's parameter names, and the options that related models need."""

from dasr_fast.nn.channel_modulation import ChannelModulation
from dasr_fast.nn.da_block import DABlock
from dasr_fast.nn.da_conv import DAConv
from dasr_fast.nn.da_group import DAGroup
from dasr_fast.nn.spatial_gate import SpatialGate
from dasr_fast.nn.static_kernel import StaticKernel

__all__ = ["ChannelModulation", "DABlock", "DAConv", "DAGroup", "SpatialGate", "StaticKernel"]
