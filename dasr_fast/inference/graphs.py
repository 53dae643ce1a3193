"""CUDA graphs of a function of tensors, one for each shape of its inputs."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakSet

import torch
from torch import Tensor

Function = Callable[..., Tensor]
Shapes = tuple[tuple[torch.Size, torch.dtype], ...]

LIMIT = 8
"""Number of shapes that are remembered."""

LARGEST = 3 * 2**20
"""Elements of the first input up to which graphs are used; with more, kernels take much longer than their launches."""

WARM_UP = 2
"""Runs on the capturing stream before the capture, so that libraries have loaded and chosen their kernels."""


class Replay(Protocol):
    """A recorded call."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The result for inputs of the recorded shapes, in a tensor of its own."""


class Graphs:
    """Calls a function of tensors, by a CUDA graph where the shapes have come before.

    A graph is captured when its shapes come for the second time, since it costs about four calls: single images of many
    sizes don't pay for it, frames and tiles of one size do. The shapes that were used longest ago are forgotten, with
    their graphs. Sizes are not rounded up to share a graph: a padded image has another border, and tiles of an image
    have one size anyway.

    Args:
        function: From tensors to a tensor, all on one device; shapes alone decide what it does.
        capture: Makes the replay of a function for inputs like those given.
    """

    def __init__(self, function: Function, capture: Callable[[Function, tuple[Tensor, ...]], Replay]) -> None:
        self._function, self._capture = function, capture
        self._replays: OrderedDict[Shapes, Replay | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """What the function returns for these inputs."""
        if inputs[0].numel() > LARGEST:
            return self._function(*inputs)
        shapes = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        with self._lock:
            if shapes not in self._replays:
                self._remember(shapes, None)
                return self._function(*inputs)
            replay = self._replays[shapes] or self._capture(self._function, inputs)
            self._remember(shapes, replay)
            return replay(*inputs)

    def clear(self) -> None:
        """Forget all shapes, and release the graphs' memory."""
        with self._lock:
            self._replays.clear()

    def _remember(self, shapes: Shapes, replay: Replay | None) -> None:
        self._replays[shapes] = replay
        self._replays.move_to_end(shapes)
        while len(self._replays) > LIMIT:
            self._replays.popitem(last=False)


class Capture:
    """Captures CUDA graphs that share one pool of memory, since no two of them run at the same time."""

    def __init__(self) -> None:
        self._living: WeakSet[CapturedGraph] = WeakSet()
        self._done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def __call__(self, function: Function, inputs: tuple[Tensor, ...]) -> Replay:
        """A graph of `function`, with buffers of its own for inputs like `inputs`."""
        device = inputs[0].device
        with torch.inference_mode(False), torch.no_grad():  # They outlive the caller's mode.
            buffers = [tensor.clone() for tensor in inputs]
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                function(*buffers)
        # A pool ends with its last graph.
        pool = next((other.graph.pool() for other in self._living), None)
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            output = function(*buffers)
        captured = CapturedGraph(graph, buffers, output, self._done)
        self._living.add(captured)
        return captured


@dataclass(frozen=True, eq=False)
class CapturedGraph:
    """A CUDA graph that may be replayed from any stream.

    Attributes:
        graph: Reads `buffers` and writes `output`.
        buffers: Its inputs.
        output: Its result.
        done: The end of the last replay of all graphs that share memory with this one.
    """

    graph: torch.cuda.CUDAGraph
    buffers: list[Tensor]
    output: Tensor
    done: torch.cuda.Event

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The result for inputs of the captured shapes, in a tensor of its own."""
        stream = torch.cuda.current_stream(self.output.device)
        stream.wait_event(self.done)
        with torch.no_grad():
            for buffer, tensor in zip(self.buffers, inputs, strict=True):
                buffer.copy_(tensor)
        self.graph.replay()
        result = self.output.clone()
        self.done.record(stream)
        return result
