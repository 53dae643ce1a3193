"""Inference and training again and again: the same results, and no more memory."""

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.degradation import Degradation
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR
from dasr_fast.processes import Processes
from dasr_fast.training.networks import placed
from dasr_fast.training.representation import MoCoLearner
from dasr_fast.training.schedule import Schedule
from dasr_fast.training.step import TrainingStep

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SECONDS = float(os.environ.get("DASR_FAST_SOAK", 0))
"""For each test; a few rounds in any case."""

WARM, LEAST = 4, 8
"""Rounds after which all memory that will be needed is there, and rounds at least."""

SLACK = {"cuda": 0, "cpu": 32 * 2**20}
"""Bytes by which the memory may grow; on a CPU that of the whole process is counted."""

SIZE = {"cuda": {}, "cpu": {"groups": 1, "blocks": 1}}
SIDES = {"cuda": ((180, 320), (96, 100), (540, 960)), "cpu": ((20, 24), (17, 30))}


def rounds(call: Callable[[], list[Tensor]], *, same: bool) -> None:
    """Call until the time is up."""
    first, memory, count, end = [y.clone() for y in call()], 0, 0, time.monotonic() + SECONDS
    while count < LEAST or time.monotonic() < end:
        results = call()
        count += 1
        assert all(bool(y.isfinite().all()) for y in results), f"round {count}"
        assert not same or all(map(torch.equal, results, first)), f"round {count}"
        del results
        if count == WARM:
            memory = in_use()
    more = in_use() - memory
    print(f"{count} rounds, {more:+d} bytes")
    assert more <= SLACK[DEVICE]


def in_use() -> int:
    """Bytes in use: by tensors on a GPU, on a CPU by this process."""
    gc.collect()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated()
    pages = Path("/proc/self/statm")
    return 4096 * int(pages.read_text().split()[1]) if pages.exists() else 0


@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("fp16", marks=pytest.mark.skipif(DEVICE == "cpu", reason="no GPU"))]
)
def test_inference_of_several_sizes(precision: str):
    engine = Engine(BlindSR(4, **SIZE[DEVICE]).to(DEVICE), precision)
    images = [torch.rand(1, 3, *side, device=DEVICE) * 255 for side in SIDES[DEVICE]]
    rounds(lambda: [*(engine(image).clone() for image in images), engine(images[0], tile=64).clone()], same=True)


@pytest.mark.parametrize(
    "captured", [False, pytest.param(True, marks=pytest.mark.skipif(DEVICE == "cpu", reason="no GPU"))]
)
def test_training_steps(captured: bool):
    place = torch.device(DEVICE)
    model = placed(BlindSR(4, **SIZE[DEVICE]), place).train()
    schedule, processes = Schedule(0, 10**6, 1e-4, 1e-4), Processes(place)
    capture = CudaCapture if captured else None
    step = TrainingStep(MoCoLearner(model.E), model.G, Degradation(4), schedule, processes, capture=capture)
    batch, side = (32, 192) if DEVICE == "cuda" else (2, 96)
    hr = torch.randint(256, (batch, 2, 3, side, side), dtype=torch.uint8, device=DEVICE)
    indices = torch.arange(batch, device=DEVICE)
    number = iter(range(10**9))
    # Losses of 4 steps at once, so that a GPU is asked for them less often.
    rounds(lambda: [torch.stack([step(next(number), hr, indices)["loss"] for _ in range(4)])], same=False)
