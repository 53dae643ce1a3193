"""Suite `memory`: what inference and a training step need at most, each contender in a process of its own."""

import gc
import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks import network, training
from benchmarks.network import Case
from benchmarks.results import Result
from benchmarks.timing import reason
from benchmarks.work import Settings, Work

CONTENDERS = ("released", "released, channels-last", "accelerate(released)", "dasr-fast", "Engine fp32", "Engine fp16")
FEW = ("released", "dasr-fast", "Engine fp32")


def works(settings: Settings) -> Iterator[Work]:
    """x4 of a frame and of a large image, and a training step, each as in its own suite."""
    cases = network.QUICK if settings.quick else (Case(320, 180, 4, 1), Case(960, 540, 4, 1))
    everybody = network.contenders(4, settings, compiles=False)
    wanted = FEW if settings.quick else CONTENDERS
    some = {name: contender for name, contender in everybody.items() if name in wanted}
    for case in cases:
        yield network.network_work("memory", case, settings, some)
    for batch in training.batches(settings):
        work = training.step_work("memory", "everything", batch, settings)
        yield replace(work, contenders={name: one for name, one in work.contenders.items() if name in wanted})


def left_out(settings: Settings) -> list[str]:
    """What isn't compared, and why."""
    return ["memory: large images and batches, for --quick."] if settings.quick else []


def measure(work: Work, settings: Settings) -> list[Result]:
    """Peaks of all contenders of a work; their results aren't checked again."""
    results = []
    for name in work.contenders:
        result = Result.of(work, name)
        with ProcessPoolExecutor(1, get_context("spawn")) as process:
            try:
                peak = process.submit(_peak, settings, work.label, name, torch.get_num_threads())
                result.peak, result.process = peak.result()
            except Exception as failure:  # As in `timing.checked`.
                result.failure = reason(failure)
        results.append(result)
    return results


def _peak(settings: Settings, label: str, name: str, threads: int) -> tuple[int, int | None]:
    """Bytes in the second call beyond those of a process that has imported everything, and on a CPU those of all of it.

    On a GPU bytes that PyTorch's allocator has given away.
    """
    torch.set_num_threads(threads)
    work = next(work for work in works(settings) if work.label == label)
    before = _resident()
    contender = work.contenders[name]
    inputs = contender.arrange(work.inputs())
    call = contender.make()
    call(*inputs)
    gc.collect()
    if settings.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        call(*inputs)
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated(), None
    _forget_highest()
    call(*inputs)
    process = _highest()
    return process - before, process


def _forget_highest() -> None:
    """Let Linux count anew, without what building the contender took; elsewhere that counts."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _highest() -> int:
    """Most bytes that this process has had in memory.

    Linux keeps them in VmHWM for what runs now; ru_maxrss there may be that of the process that started this one.
    """
    found = _status("VmHWM")
    if found is None:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found = most if sys.platform == "darwin" else 1024 * most
    return found


def _resident() -> int:
    found = _status("VmRSS")
    return _highest() if found is None else found


def _status(name: str) -> int | None:
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
