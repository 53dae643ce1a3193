"""Part `soak`: inference and training again and again, with the same results and no more memory."""

import gc
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.acceptance.part import Asked, Report
from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.degradation import Degradation
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR
from dasr_fast.training.networks import placed
from dasr_fast.training.processes import Processes
from dasr_fast.training.representation import MoCoLearner
from dasr_fast.training.schedule import Schedule
from dasr_fast.training.step import TrainingStep

WARM = 4
"""Rounds after which all memory that will be needed is there."""

SLACK = {"cuda": 0, "cpu": 32 * 2**20}
"""Bytes by which the memory may grow; on a CPU that of the whole process is counted."""

SIDES = {"cuda": ((180, 320), (96, 100), (540, 960)), "cpu": ((20, 24), (17, 30))}


def run(asked: Asked, report: Report) -> None:
    """Inference for 40 % of the time, then training."""
    seconds = asked.left - 5 if asked.on_gpu else min(asked.left - 5, 20)
    for precision in ("fp16", "fp32") if asked.on_gpu else ("fp32",):
        again(f"inference in {precision}", inference(asked.device, precision), asked, 0.2 * seconds, report)
    for name, captured in (("training", False), ("training by a CUDA graph", True)):
        if asked.on_gpu or not captured:
            again(name, training(asked.device, captured=captured), asked, 0.25 * seconds, report)


def again(name: str, call: Callable[[], list[Tensor]], asked: Asked, seconds: float, report: Report) -> None:
    """Call until the time is up, and note growth of memory, results that change, and results that aren't finite."""
    end = time.monotonic() + seconds
    rounds, first, memory, reserved = 0, call(), 0, 0
    while rounds < WARM + 1 or time.monotonic() < end:
        results = call()
        rounds += 1
        finite = all(bool(result.isfinite().all()) for result in results)
        same = not name.startswith("inference") or all(map(torch.equal, results, first))
        del results
        if rounds == WARM:
            memory, reserved = in_use(asked.device)
        if not finite or not same:
            report.fail(f"{name}: after {rounds} rounds a result {'is another' if finite else 'is not finite'}")
            break
    now, reserved_now = in_use(asked.device)
    report.figures[name] = f"{rounds} rounds, {now - memory:+d} bytes, {reserved_now - reserved:+d} reserved"
    if now - memory > SLACK[asked.device]:
        report.fail(f"{name}: {now - memory} bytes more after {rounds} rounds than after {WARM}")
    report.line = "; ".join(f"{name}: {value}" for name, value in report.figures.items())
    report.write(asked.folder)


def in_use(device: str) -> tuple[int, int]:
    """Bytes in use and bytes reserved: by tensors on a GPU, on a CPU by this process."""
    gc.collect()
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    pages = Path("/proc/self/statm")
    resident = 4096 * int(pages.read_text().split()[1]) if pages.exists() else 0
    return resident, resident


def inference(device: str, precision: str) -> Callable[[], list[Tensor]]:
    """An engine, images of several sizes, one of them in tiles."""
    torch.manual_seed(0)
    engine = Engine(BlindSR(4).to(device), precision)
    images = [torch.rand(1, 3, *side, device=device) * 255 for side in SIDES[device]]
    return lambda: [*(engine(image).clone() for image in images), engine(images[0], tile=64).clone()]


def training(device: str, *, captured: bool) -> Callable[[], list[Tensor]]:
    """Steps of everything."""
    torch.manual_seed(0)
    place = torch.device(device)
    model = placed(BlindSR(4), place).train()
    schedule, processes = Schedule(0, 10**6, 1e-4, 1e-4), Processes(place)
    capture = CudaCapture if captured else None
    step = TrainingStep(MoCoLearner(model.E), model.G, Degradation(4), schedule, processes, capture=capture)
    batch, side = (32, 192) if device == "cuda" else (2, 96)
    hr = torch.randint(256, (batch, 2, 3, side, side), dtype=torch.uint8, device=device)
    indices = torch.arange(batch, device=device)
    number = iter(range(10**9))

    def call() -> list[Tensor]:
        # Losses of 4 steps at once, so that the GPU is asked for them less often.
        return [torch.stack([step(next(number), hr, indices)["loss"] for _ in range(4)])]

    return call
