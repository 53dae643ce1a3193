"""How many primitives oneDNN keeps, by what it says of its cache."""

import os
import subprocess
import sys

import pytest

VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
PROGRAM = """
from dasr_fast.cli.common import forget_old_primitives
{call}
import torch
weight = torch.rand(16, 16, 3, 3)
for height in (*range(100, 140), 100):
    torch.nn.functional.conv2d(torch.rand(1, 16, height, 64), weight)
"""


def last_convolution(call: str, **variables: str) -> str:
    """Whether oneDNN had the primitive of the convolution of a size that came 40 sizes before: "hit" or "miss"."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    output = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(call=call)],
        env={**environment, "ONEDNN_VERBOSE": "profile_create", **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    convolutions = [line for line in output.splitlines() if ",convolution," in line and "create:cache_" in line]
    if len(convolutions) != 41:
        pytest.skip("PyTorch computes these convolutions without oneDNN")
    return convolutions[-1].partition("create:cache_")[2][:4].rstrip(",")


def test_old_primitives_are_forgotten():
    assert last_convolution("") == "hit"
    assert last_convolution("forget_old_primitives()") == "miss"
    assert last_convolution("forget_old_primitives()", **{VARIABLE: "1024"}) == "hit"
