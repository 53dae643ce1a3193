"""CUDA graphs of functions of tensors."""

import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

Results = TypeVar("Results", Tensor, dict[str, Tensor])

_LOCK = threading.RLock()
"""Held by every capture and replay: PyTorch allows one capture at a time, and no replay by another thread meanwhile."""

_failed: list[torch.cuda.CUDAGraph] = []
"""Graphs whose capture has failed; PyTorch's allocators go on asking them."""


class CaptureError(RuntimeError):
    """A function can't be captured."""


class Capture(Protocol[Results]):
    """Makes calls that can be replayed."""

    def run(self, function: Callable[..., Results], *inputs: Tensor) -> Results:
        """What the function does, called where it will be captured, so that libraries load and choose kernels there."""

    def __call__(self, function: Callable[..., Results], *inputs: Tensor) -> Callable[..., Results]:
        """The replay of a function for inputs like those given; the function doesn't run.

        Raises:
            CaptureError: It can't be captured.
        """


class CudaCapture(Generic[Results]):
    """Captures functions as CUDA graphs, on a stream of its own.

    Its graphs share their memory, and each replay waits for the one before, on whichever stream that was. Threads must
    take turns, and graphs that aren't needed any more be let go all together, since what libraries keep for the stream
    may end with any of them.
    """

    def __init__(self) -> None:
        self._stream: torch.cuda.Stream | None = None
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._living: WeakSet[CudaGraph[Results]] = WeakSet()

    def run(self, function: Callable[..., Results], *inputs: Tensor) -> Results:
        """See `Capture`."""
        stream, current = self._stream_for(inputs[0]), torch.cuda.current_stream(inputs[0].device)
        stream.wait_stream(current)
        stream.wait_event(self._done)  # Libraries' workspaces of the stream are the graphs', too.
        with torch.cuda.stream(stream):
            results = function(*inputs)
        current.wait_stream(stream)
        return results

    def __call__(self, function: Callable[..., Results], *inputs: Tensor) -> "CudaGraph[Results]":
        """See `Capture`."""
        stream = self._stream_for(inputs[0])
        with torch.inference_mode(False), torch.no_grad():  # They outlive the caller's mode.
            buffers = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        # A pool ends with its last graph.
        pool = next((other.graph.pool() for other in self._living), None) or torch.cuda.graph_pool_handle()
        with _LOCK, torch.cuda.device(stream.device):
            current = torch.cuda.current_stream()
            try:
                # Other threads, such as that which copies images into pinned memory, may go on.
                with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
                    results = function(*buffers)
            except Exception as error:
                torch.cuda.set_stream(current)  # A capture that fails leaves its own current.
                self._living = WeakSet()  # Nor can its pool be used for another.
                _failed.append(graph)
                _recover(graph, pool, stream)
                raise CaptureError(str(error.__context__ or error)) from error
        captured = CudaGraph(graph, buffers, results, self._done)
        self._living.add(captured)
        return captured

    def _stream_for(self, tensor: Tensor) -> torch.cuda.Stream:
        if self._stream is None:
            self._stream = torch.cuda.Stream(tensor.device)  # type: ignore[no-untyped-call]
        return self._stream


@dataclass(frozen=True, eq=False)
class CudaGraph(Generic[Results]):
    """A CUDA graph that may be replayed from any stream.

    Attributes:
        graph: Reads `buffers` and writes `results`.
        buffers: Its inputs.
        results: In its memory.
        done: The end of the last replay of all graphs that share memory with this one.
    """

    graph: torch.cuda.CUDAGraph
    buffers: list[Tensor]
    results: Results
    done: torch.cuda.Event

    def __call__(self, *inputs: Tensor) -> Results:
        """The results for inputs of the captured shapes, in tensors of their own."""
        stream = torch.cuda.current_stream(self.buffers[0].device)
        stream.wait_event(self.done)
        with torch.no_grad():
            for buffer, tensor in zip(self.buffers, inputs, strict=True):
                buffer.copy_(tensor)
        with _LOCK:
            self.graph.replay()
        results = _copies(self.results)
        self.done.record(stream)
        return results


def _copies(results: Results) -> Results:
    if isinstance(results, Tensor):
        return results.clone()
    return {name: value.clone() for name, value in results.items()}


def _recover(graph: torch.cuda.CUDAGraph, pool: tuple[int, int], stream: torch.cuda.Stream) -> None:
    """Undo what a capture that failed leaves in PyTorch 2.11; 2.13 does so itself in part."""
    with suppress(RuntimeError):
        graph.reset()  # Releases the memory if the capture came to its end.
    with suppress(RuntimeError, AttributeError):  # Which says that it did, or that these private functions are gone.
        torch._C._cuda_endAllocateToPool(stream.device.index, pool)
        torch._C._cuda_releasePool(stream.device.index, pool)
    # The end of a capture sets back the random generator, which else refuses numbers and the replays of other graphs.
    with (
        suppress(RuntimeError),
        torch.cuda.graph(torch.cuda.CUDAGraph(), stream=stream, capture_error_mode="thread_local"),
    ):
        torch.zeros((), device=stream.device)
