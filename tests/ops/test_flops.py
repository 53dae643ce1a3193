"""What `FlopCounterMode` counts, against a count by hand of the released structure, and against PyTorch's own."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from dasr_fast import ops, reference

# Two samples, eight channels in, four out, 6x5 pixels.
X, KERNEL, WEIGHT, CONV = (2, 8, 6, 5), (2, 8, 3, 3), (4, 8), (4, 4, 3, 3)
DA_CONV: dict[str, Any] = {"x": X, "kernel": KERNEL, "weight": WEIGHT, "bias": None, "gate": None}
HALF: dict[str, Any] = {**DA_CONV, "conv_weight": CONV, "conv_bias": None}
CASES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("dynamic_depthwise_conv", {"x": X, "kernel": KERNEL}, {"negative_slope": 0.1}),
    ("channel_modulation", {"x": X, "gate": (2, 8), "residual": None}, {}),
    ("da_conv", DA_CONV, {"negative_slope": 0.1, "activate": True}),
    ("conv3x3", {"x": X, "weight": (4, 8, 3, 3), "bias": None, "residual": None}, {"negative_slope": 0.1}),
    ("da_half_block", {**HALF, "residual": None}, {"negative_slope": 0.1, "activate": True}),
    ("blur_downsample", {"hr": (2, 3, 12, 16), "kernel": (2, 5, 4)}, {"scale": 2, "mode": "bicubic"}),
    ("blur_downsample", {"hr": (2, 3, 12, 16), "kernel": (2, 5, 4)}, {"scale": 1, "mode": "bicubic"}),
]


def counted(y: Any, inputs: list[Tensor]) -> tuple[int, int]:
    """FLOPs of `y()` and of its gradients."""
    with FlopCounterMode(display=False) as forward:
        result = y()
    with FlopCounterMode(display=False) as backward:
        torch.autograd.grad(result.sum(), inputs)
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize(("op", "shapes", "options"), CASES)
def test_ops_count_what_their_mathematics_do(op: str, shapes: dict[str, Any], options: dict[str, Any]):
    tensors = {name: shape and torch.randn(shape, requires_grad=True) for name, shape in shapes.items()}
    inputs = [tensor for tensor in tensors.values() if tensor is not None]
    forward, backward = counted(lambda: getattr(ops, op)(**tensors, **options, backend="reference"), inputs)
    # PyTorch forgets the groups of a convolution's gradients, so that only the result's operations are compared.
    with FlopCounterMode(display=False) as counter:
        getattr(reference, op)(*tensors.values(), *options.values())
    # What is computed once more for the gradients: the depthwise convolution, or all before the 3x3 convolution too.
    depthwise, pointwise = 2 * 480 * 9, 2 * 480 * 4
    again = {"da_conv": depthwise, "da_half_block": 2 * depthwise + pointwise}.get(op, 0)
    assert (forward, backward) == (counter.get_total_flops(), 2 * forward + again)


def test_only_wanted_gradients_count():
    x, weight = torch.randn(1, 16, 6, 5), torch.randn(4, 16, 3, 3, requires_grad=True)
    assert counted(lambda: ops.conv3x3(x, weight, None), [weight]) == (30 * 16 * 4 * 18, 30 * 16 * 4 * 18)


def test_kept_pixels_alone():
    hr, kernel = torch.randn(2, 3, 12, 16), torch.randn(2, 5, 4, requires_grad=True)
    flops = 2 * (2 * 3 * 4 * 5) * 20
    assert counted(lambda: ops.blur_downsample(hr, kernel, 3, mode="s-fold"), [kernel]) == (flops, flops)
