"""Bytes and operations of one case of each op, counted by hand."""

import pytest

from dasr_fast.specification import SPECIFICATIONS

FRAME = 64 * 180 * 320
PATCHES = 32 * 2 * 3 * 192 * 192
COSTS = {
    ("dynamic_depthwise_conv", "frame"): (4 * (2 * FRAME + 64 * 9), 2 * 9 * FRAME),
    ("channel_modulation", "frame"): (4 * (3 * FRAME + 64), 2 * FRAME),
    ("da_conv", "frame"): (4 * (2 * FRAME + 64 * 9 + 64 * 64 + 64 + 64), (2 * 9 + 2 * 64 + 2) * FRAME),
    ("conv3x3", "frame"): (4 * (3 * FRAME + 9 * 64 * 64 + 64), (2 * 9 * 64 + 1) * FRAME),
    ("da_half_block", "frame"): (
        4 * (3 * FRAME + 64 * 9 + 64 * 64 + 64 + 64 + 9 * 64 * 64 + 64),
        (2 * 9 + 2 * 64 + 2 + 2 * 9 * 64 + 1) * FRAME,
    ),
    ("blur_downsample", "training"): (4 * (PATCHES + PATCHES // 16 + 32 * 441), 2 * 36**2 * PATCHES // 16),
}


@pytest.mark.parametrize(("op", "label"), COSTS)
def test_costs(op: str, label: str):
    specification = SPECIFICATIONS[op]
    case = next(case for case in specification.cases if case.label == label)
    assert (specification.bytes_moved(case, 4), specification.operations(case)) == COSTS[op, label]
