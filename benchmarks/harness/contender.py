"""What runs in a contender's process: it is built, compared with float64, timed, and its memory is measured."""

import gc
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from benchmarks.harness.work import AbsentError, Inputs, Work
from dasr_fast.training.step import WARM_UP

INPUTS, EXPECTED = "inputs.pt", "expected.pt"
"""Files that the processes of a work share, in a folder of their own."""

SETTLING = WARM_UP
"""Calls on a GPU between the first and those that are timed: `Engine` captures its CUDA graph at the second call, a
training step after `WARM_UP` calls, and what a capture takes says nothing of the calls that follow."""

Find = Callable[[], Work]
"""Gives the work in any process."""


class Contends:
    """One contender of a work; on a GPU, inputs rotate so that none is in the L2 cache."""

    def __init__(self, work: Work, folder: Path, name: str, device: str) -> None:
        self.work, self.folder, self.name, self.device = work, folder, name, device
        self.before, self.turn = _status("VmRSS") or _highest(), 0

    def __call__(self) -> Any:
        self.turn = (self.turn + 1) % len(self.copies)
        return self.call(*self.copies[self.turn])

    def draw(self) -> None:
        """Write the work's inputs, and if its results are compared those in float64."""
        inputs = self.work.inputs()
        torch.save(inputs, self.folder / INPUTS)
        if self.work.timed and self.work.expected is not None:
            results = [x.detach() for x in self.work.read(self.work.expected(*inputs))]
            torch.save(results, self.folder / EXPECTED)

    def build(self) -> float | None:
        """Make the first call, which also compiles, packs weights and so on; returns its error, if it can be known."""
        contender, inputs = self.work.contenders[self.name], torch.load(self.folder / INPUTS)
        copies = _copies(inputs, self.device)
        self.copies = [contender.arrange(inputs)]
        self.copies += [contender.arrange(torch.load(self.folder / INPUTS)) for _ in range(copies - 1)]
        self.call = contender.make()
        outputs = self()
        if not (self.folder / EXPECTED).exists():
            return None
        expected = torch.load(self.folder / EXPECTED)
        return max(difference(y, target) for y, target in zip(self.work.read(outputs), expected, strict=True))

    def settle(self) -> float:
        """Make the calls that are no measure of the later ones; returns the seconds of one after them."""
        _settle_allocator()
        for _ in range(SETTLING if self.device == "cuda" else 0):
            self()
        return self.seconds(1)[0]

    def seconds(self, repeats: int) -> tuple[float, float | None]:
        """Seconds of one of so many calls in succession, and on a GPU those until the first call returned.

        On a GPU events on the stream tell the time; calls that are shorter there than their launches take as long.
        Between its turns a process keeps no memory there that others may need.
        """
        if self.device != "cuda":
            start = time.perf_counter()
            for _ in range(repeats):
                self()
            return (time.perf_counter() - start) / repeats, None
        self()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        start = time.perf_counter()
        begin.record()
        self()
        launch = time.perf_counter() - start
        for _ in range(repeats - 1):
            self()
        end.record()
        end.synchronize()
        torch.cuda.empty_cache()
        return begin.elapsed_time(end) / 1e3 / repeats, launch

    def peak(self) -> tuple[int, int | None]:
        """Bytes in a further call beyond those of a process that has imported everything, and on a CPU those of all.

        On a GPU bytes that PyTorch's allocator has given away.
        """
        gc.collect()
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
            self()
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated(), None
        with suppress(OSError):  # Lets Linux count anew, without what building the contender took.
            Path("/proc/self/clear_refs").write_text("5")
        self()
        process = _highest()
        return process - self.before, process

    def profile(self, path: Path) -> None:
        """Write PyTorch's profile of a call, what takes longest first."""
        on_gpu = self.device == "cuda"
        with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as profiled:
            self()
            if on_gpu:
                torch.cuda.synchronize()
        key = f"self_{'device' if on_gpu else 'cpu'}_time_total"
        path.write_text(profiled.key_averages().table(sort_by=key, row_limit=40, max_name_column_width=70))


def serve(pipe: Connection, find: Find, folder: Path, name: str, device: str, threads: int) -> None:
    """Do what is asked by the pipe until it is closed: methods of `Contends`.

    Answers with the result, or with an exception's reason and whether something is only absent.
    """
    torch.set_num_threads(threads)
    one = Contends(find(), folder, name, device)
    with suppress(EOFError, BrokenPipeError):
        while True:
            method, *arguments = pipe.recv()
            try:
                pipe.send((getattr(one, method)(*arguments), None))
            except Exception as failure:  # Whatever a contender can't do here is a result, too.
                pipe.send((None, (reason(failure), absent(failure))))


def reason(failure: Exception) -> str:
    """The first line of what it says, and the next one after a colon; its type if it says nothing."""
    first, *others = [line.strip() for line in str(failure).splitlines() if line.strip()] or [type(failure).__name__]
    return f"{first} {others[0]}" if first.endswith(":") and others else first


def absent(failure: Exception) -> bool:
    """Whether it only says that a package isn't installed, or something else isn't there."""
    ours = isinstance(failure, ModuleNotFoundError) and str(failure.name).split(".")[0] in ("benchmarks", "dasr_fast")
    return isinstance(failure, AbsentError | ImportError) and not ours


def difference(result: Tensor, expected: Tensor) -> float:
    """`||result - expected||` over `||expected - mean(expected)||` (over `||expected||` of a single number).

    Without the mean, an image that is grey all over is wrong. Infinite if it isn't a number.
    """
    target = expected.double().cpu()
    if result.shape != target.shape:
        return float("inf")
    distance = (result.detach().double().cpu() - target).norm()
    error = (distance / (target - target.mean() if target.numel() > 1 else target).norm()).item()
    return error if error == error else float("inf")


def _settle_allocator() -> None:
    """Let glibc keep what is freed, as it does in programs that have freed a block of nearly 32 MiB.

    Until then it may give memory back and fault it in again at every call, or not, depending on what ran before: times
    of the same call differed by a factor of 2.5.
    """
    torch.empty(31 * 2**20, dtype=torch.uint8)


def _copies(inputs: Inputs, device: str) -> int:
    """How many of them don't fit into the GPU's L2 cache together."""
    if device != "cuda":
        return 1
    size = sum(x.numel() * x.element_size() for x in inputs if isinstance(x, Tensor))
    return min(64, 2 + 2 * torch.cuda.get_device_properties(0).L2_cache_size // max(size, 1))


def _highest() -> int:
    """Most bytes that this process has had in memory.

    Linux keeps them in VmHWM for what runs now; ru_maxrss there may be that of the process that started this one.
    """
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return _status("VmHWM") or (most if sys.platform == "darwin" else 1024 * most)


def _status(name: str) -> int | None:
    path = Path("/proc/self/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
