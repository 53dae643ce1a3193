"""A training step as a CUDA graph."""

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

LOG = logging.getLogger(__name__)

Function = Callable[..., dict[str, Tensor]]

WARM_UP = 3
"""Calls before the capture, so that libraries have loaded and chosen their kernels, and the optimizer has its state."""


class Replay(Protocol):
    """A captured function."""

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What the function does with inputs of the captured shapes; its results in tensors of their own."""


class Repeated:
    """A function of tensors, of the same shapes at each call, that is captured after a few calls and then replayed.

    Where capturing fails, a warning says so, and the function goes on being called.

    Args:
        function: What it does depends on tensors alone, and it changes nothing but tensors in place.
        capture: Makes the replay of a function for inputs like those given, without running it.
    """

    def __init__(self, function: Function, capture: Callable[[Function, tuple[Tensor, ...]], Replay]) -> None:
        self._call, self._capture = function, capture
        self._left = WARM_UP

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What the function does and returns."""
        if self._left == 0:
            self._call = self._captured(inputs)
        self._left -= 1
        return self._call(*inputs)

    def _captured(self, inputs: tuple[Tensor, ...]) -> Function:
        try:
            return self._capture(self._call, inputs)
        except RuntimeError as error:
            LOG.warning("The training step can't be captured as a CUDA graph, and goes on without: %s", error)
            return self._call


class CapturedStep:
    """A function as a CUDA graph on the current stream.

    Args:
        function: From tensors on a CUDA device to tensors.
        inputs: Tensors like those for which it will be called.
    """

    def __init__(self, function: Function, inputs: tuple[Tensor, ...]) -> None:
        self._buffers = [tensor.clone() for tensor in inputs]
        self._graph = torch.cuda.CUDAGraph()
        # Other threads, such as that which copies images into pinned memory, may go on.
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._outputs = function(*self._buffers)

    def __call__(self, *inputs: Tensor) -> dict[str, Tensor]:
        """See `Replay`."""
        for buffer, tensor in zip(self._buffers, inputs, strict=True):
            buffer.copy_(tensor)
        self._graph.replay()
        return {name: value.clone() for name, value in self._outputs.items()}
