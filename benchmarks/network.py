"""Suite `network`: the whole model on one LR image."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor

from benchmarks.released import plain_convolutions, with_released_operations
from benchmarks.timing import BASELINE, Work
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR


def works(lr: Tensor, device: str) -> Iterator[Work]:
    """x4 on the LR image `[1, 3, h, w]`, in float32 and without weights that matter: their values cost no time."""
    torch.manual_seed(0)
    model = BlindSR(4).eval().requires_grad_(False).to(device)
    lr = lr.to(device)
    engine = Engine(model, "fp32")
    baseline = with_released_operations(deepcopy(model))
    last = deepcopy(baseline).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    yield Work(
        "network",
        f"x4 of {lr.shape[-1]}x{lr.shape[-2]}",
        {
            BASELINE: lambda: _released(baseline, lr),
            "released, channels-last": lambda: _released(last, lr.contiguous(memory_format=torch.channels_last)),
            "dasr-fast": lambda: model(lr),
            "dasr-fast, Engine": lambda: engine(lr),
        },
        lambda: deepcopy(model).double()(lr.double()).cpu(),
    )


def _released(network: BlindSR, lr: Tensor) -> Tensor:
    with plain_convolutions():
        return network(lr)
