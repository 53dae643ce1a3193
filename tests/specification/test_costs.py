import pytest

from tests.specification import SPECIFICATIONS

FRAME = 64 * 180 * 320
FEATURES = 32 * 64 * 48 * 48
PATCHES = 32 * 2 * 3 * 192 * 192
COSTS = {
    ("dynamic_depthwise_conv", "frame"): (4 * (2 * FRAME + 64 * 9), 2 * 9 * FRAME),
    ("channel_modulation", "frame"): (4 * (3 * FRAME + 64), 2 * FRAME),
    ("da_conv", "frame"): (4 * (2 * FRAME + 64 * 9 + 64 * 64 + 64 + 64), (2 * 9 + 2 * 64 + 2) * FRAME),
    ("da_conv", "more channels out"): (
        4 * (2 * 4 * 25 + 2 * 7 * 25 + 2 * 4 * 9 + 7 * 4 + 7),
        (2 * 9 + 2 * 7) * 2 * 4 * 25,
    ),
    ("conv3x3", "frame"): (4 * (3 * FRAME + 9 * 64 * 64 + 64), (2 * 9 * 64 + 1) * FRAME),
    ("da_half_block", "frame"): (
        4 * (3 * FRAME + 64 * 9 + 64 * 64 + 64 + 64 + 9 * 64 * 64 + 64),
        (2 * 9 + 2 * 64 + 2 + 2 * 9 * 64 + 1) * FRAME,
    ),
    ("blur_downsample", "training"): (4 * (PATCHES + PATCHES // 16 + 32 * 441), 2 * 36**2 * PATCHES // 16),
}
BACKWARD = {
    # Read: gradient, x, the sign of the result, kernel. Written: gradients for x and kernel.
    ("dynamic_depthwise_conv", "training"): 4 * (4 * FEATURES + 2 * 32 * 64 * 9),
    # No sign.
    ("dynamic_depthwise_conv", "no activation"): 4 * (3 * 6 * 5 * 11 + 2 * 6 * 9),
    # Read: gradient, x, gate. Written: gradients for x and gate. The residual's is the gradient that was given.
    ("channel_modulation", "training"): 4 * (3 * FEATURES + 2 * 32 * 64),
    ("channel_modulation", "no residual"): 4 * (3 * 2 * 5 * 3 * 6 + 2 * 2 * 5),
    # Read: gradient, x, sign, kernel, weight, gate. Written: gradients for x, kernel, weight, bias, gate.
    ("da_conv", "training"): 4 * (4 * FEATURES + 2 * (32 * 64 * 9 + 64 * 64 + 32 * 64) + 64),
    ("da_conv", "more channels out"): 4 * (2 * 7 * 25 + 2 * 2 * 4 * 25 + 2 * (2 * 4 * 9 + 7 * 4) + 7),
    # Read: gradient, x, weight. Written: gradients for x, weight, bias. The residual's is the gradient that was given.
    ("conv3x3", "batch"): 4 * (3 * FEATURES + 2 * 9 * 64 * 64 + 64),
    # Read: gradient, sign, x, weight.
    ("conv3x3", "activation"): 4 * (4 * 2 * 16 * 9 * 7 + 2 * 9 * 16 * 16 + 16),
    # Read: gradient, sign, x and all but the last bias. Written: gradients for everything.
    ("da_half_block", "batch"): 4 * (4 * FEATURES + 2 * (32 * 64 * 9 + 64 * 64 + 64 + 32 * 64 + 9 * 64 * 64) + 64),
    # As many without the sign; the residual's gradient is the one that was given.
    ("da_half_block", "frame"): 4 * (3 * FRAME + 2 * (64 * 9 + 64 * 64 + 64 + 64 + 9 * 64 * 64) + 64),
    # Read: gradient, hr, kernel. Written: gradients for hr and kernel.
    ("blur_downsample", "training"): 4 * (2 * PATCHES + PATCHES // 16 + 2 * 32 * 441),
}


@pytest.mark.parametrize(("op", "label"), COSTS)
def test_costs(op: str, label: str):
    specification = SPECIFICATIONS[op]
    case = next(case for case in specification.cases if case.label == label)
    assert (specification.bytes_moved(case, 4), specification.operations(case)) == COSTS[op, label]


@pytest.mark.parametrize(("op", "label"), BACKWARD)
def test_bytes_backward(op: str, label: str):
    specification = SPECIFICATIONS[op]
    case = next(case for case in specification.cases if case.label == label)
    assert specification.bytes_backward(case, 4) == BACKWARD[op, label]
    assert specification.bytes_backward(case, 2) == BACKWARD[op, label] // 2
