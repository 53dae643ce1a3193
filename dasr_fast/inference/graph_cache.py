"""Calls of functions of tensors by CUDA graphs, one for each function and shape of its inputs."""

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor

from dasr_fast.cuda_graph import Capture, CaptureError

Function = Callable[..., Tensor]
Shapes = tuple[tuple[torch.Size, torch.dtype], ...]

LIMIT = 16
"""Number of functions with shapes that are remembered: two for each size of an image."""

LARGEST = 3 * 2**20
"""Elements of the first input up to which graphs are used; with more, kernels take much longer than their launches."""

WARM_UP = 2
"""Runs where the capture will be, before it."""


class GraphCache:
    """Calls functions of tensors, by a CUDA graph where the shapes have come before.

    A graph is captured when its shapes come for the second time, since it costs about four calls: single images of many
    sizes don't pay for it, frames and tiles of one size do. The shapes that were used longest ago are forgotten, and
    once one of them has a graph, all are. What can't be captured is called, after a warning. Sizes are not rounded up
    to share a graph: a padded image has another border, and tiles of an image have one size anyway. One thread at a
    time captures and replays.
    """

    def __init__(self, capture: Capture[Tensor]) -> None:
        self._capture = capture
        self._replays: OrderedDict[tuple[Function, Shapes], Function | None] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, function: Function, *inputs: Tensor) -> Tensor:
        """What the function, whose work depends on its inputs' shapes alone, returns for inputs on one device."""
        if inputs[0].numel() > LARGEST:
            return function(*inputs)
        key = function, tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        with self._lock:
            if key not in self._replays:
                self._make_room()
                self._replays[key] = None
                return function(*inputs)
            replay = self._replays[key] or self._captured(function, inputs)
            self._replays[key] = replay
            self._replays.move_to_end(key)
            return replay(*inputs)

    def clear(self) -> bool:
        """Forget all shapes and release the graphs' memory; returns whether there were graphs."""
        with self._lock:
            held = any(self._replays.values())
            self._replays.clear()
            return held

    def _make_room(self) -> None:
        while len(self._replays) >= LIMIT:
            _, replay = self._replays.popitem(last=False)
            if replay is not None:
                self._replays.clear()

    def _captured(self, function: Function, inputs: tuple[Tensor, ...]) -> Function:
        for _ in range(WARM_UP):
            self._capture.run(function, *inputs)
        try:
            return self._capture(function, *inputs)
        except CaptureError as error:
            message = f"inputs of {list(inputs[0].shape)} go on without a CUDA graph, since it can't be captured"
            warnings.warn(f"Engine: {message}: {error}", RuntimeWarning, stacklevel=2)
            return function
