"""The op `normal_numbers`: normal numbers from seeds, the same on every device."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast.ops.backends import Asked
from dasr_fast.ops.checks import check_shape, check_tensor, dimensions, shown, type_name
from dasr_fast.ops.op import Op

_NAME = "normal_numbers"


def _fake(seed: Tensor, count: int, *_: Any) -> Tensor:
    return torch.empty(seed.shape[0], count, dtype=torch.float32, device=seed.device)


OP = Op(_NAME, {}, fake=_fake)


def normal_numbers(seed: Tensor, count: int, *, backend: Asked = "auto") -> Tensor:
    """Standard normal numbers that depend on their seed and place alone: the same on every device, but for last bits.

    Source: Philox4x32-10 of Salmon et al., *Parallel random numbers: as easy as 1, 2, 3*, SC 2011, with the seed as its
    key; Box and Muller's transform.

    Args:
        seed: Whole numbers `[B]`, int64.
        count: Numbers for each seed.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        `[B, count]`, float32.

    Raises:
        TypeError: The seed isn't a tensor, or of another type.
        ValueError: Its shape, the count or a backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(_NAME, "seed", seed)
    if seed.dtype != torch.int64:
        raise TypeError(f"{_NAME}: seed must be int64; got {type_name(seed.dtype)}.")
    check_shape(_NAME, "seed", seed, dimensions("B"), {})
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise ValueError(f"{_NAME}: count must be a whole number of at least 0; got {shown(count)}.")
    return OP.compute(backend, seed, count)
