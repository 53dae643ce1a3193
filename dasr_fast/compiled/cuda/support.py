"""What the CUDA kernels of all ops take, and into how many parts they cut their sums."""

from functools import cache

import torch
from torch import Tensor

OLDEST = (8, 0)
"""First compute capability, (major, minor), that kernels are compiled for."""

FEW, MANY = 256, 768
"""Parts of all sums together that occupy a GPU, and that a second pass adds in no time."""


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def obstacle(device: torch.device) -> str | None:
    """Why no kernel runs on a device, or None."""
    return _obstacle(device) if device.type == "cuda" else None


@cache
def _obstacle(device: torch.device) -> str | None:
    if torch.cuda.get_device_capability(device) < OLDEST:
        name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
        return f"it needs compute capability {OLDEST[0]}.{OLDEST[1]}, and the {name} has {major}.{minor}"
    return None


def unsupported_features(x: Tensor) -> str | None:
    """Why no kernel takes features `x`, or None."""
    return "it computes in float32, and x is float64" if x.dtype == torch.float64 else obstacle(x.device)


def parts(sums: int, elements: int, share: int) -> int:
    """Into how many parts each of a number of sums over some elements is cut, by sizes alone.

    A part has about `share` elements; fewer where all parts would be too few to occupy a GPU, more where they would be
    too many to add.
    """
    sums, share = max(1, sums), max(1, share)
    least = min(-(-FEW // sums), -(-4 * elements // share))
    return max(1, min(max(-(-elements // share), least), -(-MANY // sums)))
