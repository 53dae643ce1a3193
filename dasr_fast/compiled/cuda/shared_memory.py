"""How much shared memory a block of threads needs, and can have."""

from functools import cache
from typing import Any

import torch


def of_da_conv(channels: int, out: int, size: int, element: int) -> int:
    """Bytes that a block of `da_conv` needs, forward or backward; the kernels count the same.

    Args:
        channels: C.
        out: C_out.
        size: k of the filters.
        element: Bytes of a number.
    """
    vector = 16 // element
    chunk, rows, columns = 8 * vector, 8 if element == 2 else 4, 16
    pitch = chunk + vector
    chunks, outs = -(-channels // chunk), -(-out // chunk)
    tile = rows * columns
    both = (rows + size - 1) * (columns + size - 1) * pitch + size**2 * chunk + chunk * pitch
    forward = element * (both + 2 * chunk + tile * (chunks * chunk + vector) + tile * pitch)
    sums = outs * (16 if element == 2 else 4) + outs + 1
    return max(forward, element * (both + 2 * tile * pitch) + 4 * 256 * sums)


DA_HALF_BLOCK = 154_112
"""Bytes that a block of `da_half_block` needs, with the smallest tile; larger ones are used where there is more."""


def too_little(device: torch.device, needed: int) -> str | None:
    """Why a kernel whose blocks need so many bytes of shared memory can't run on a device, or None."""
    most = _most(device)
    if most is None or needed <= most:
        return None
    return f"it needs {needed / 1024:.0f} KiB of shared memory a block, and the GPU has {most / 1024:.0f} KiB"


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _most(device: torch.device) -> int | None:
    """Bytes of shared memory that a block can have; None for a device that isn't a GPU."""
    return _of_gpu(device) if device.type == "cuda" else None


@cache
def _of_gpu(device: torch.device) -> int:
    properties: Any = torch.cuda.get_device_properties(device)
    return properties.shared_memory_per_block_optin
