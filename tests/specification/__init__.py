"""Specifications of the ops, by name; tests and benchmarks of every backend read them."""

from tests.specification import (
    blur_downsample,
    channel_modulation,
    conv3x3,
    da_conv,
    da_half_block,
    dynamic_depthwise_conv,
)
from tests.specification.specification import Case, Specification, backends_on_cpu, distance

SPECIFICATIONS: dict[str, Specification] = {
    module.SPECIFICATION.op: module.SPECIFICATION
    for module in (dynamic_depthwise_conv, channel_modulation, da_conv, conv3x3, da_half_block, blur_downsample)
}

__all__ = ["SPECIFICATIONS", "Case", "Specification", "backends_on_cpu", "distance"]
