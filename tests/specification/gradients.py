"""The explicit gradients of an op, which its reference and its backends have under the same names."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

OPTIONS: dict[str, dict[str, Any]] = {
    "channel_modulation": {},
    "dynamic_depthwise_conv": {"negative_slope": None},
    "da_conv": {"negative_slope": 0.1, "activate": False},
    "da_half_block": {"negative_slope": 0.1, "activate": False},
    "blur_downsample": {"mode": "bicubic"},
}
"""What they are where a case doesn't say, in the order of the functions."""

BACKWARD: dict[str, Callable[[Any, dict[str, Any], Tensor, Tensor], tuple[Tensor, ...]]] = {
    "channel_modulation": lambda by, a, y, grad: by.channel_modulation_backward(grad, a["x"], a["gate"]),
    "dynamic_depthwise_conv": lambda by, a, y, grad: by.dynamic_depthwise_conv_backward(
        grad, a["x"], a["kernel"], y, a["negative_slope"]
    ),
    "da_conv": lambda by, a, y, grad: by.da_conv_backward(
        grad, a["x"], a["kernel"], a["weight"], a["gate"], y if a["activate"] else None, a["negative_slope"]
    ),
    "da_half_block": lambda *_: (),
    "blur_downsample": lambda by, a, y, grad: tuple(
        gradient(grad, a["hr"], a["kernel"], a["scale"], a["mode"])
        for gradient in (by.blur_downsample_grad_hr, by.blur_downsample_grad_kernel)
    ),
}
"""Gradients by a module, from arguments by name, the result and its gradient."""
