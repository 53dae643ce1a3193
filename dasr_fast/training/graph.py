"""A training step that is replayed."""

import logging
from collections.abc import Callable

from torch import Tensor

from dasr_fast.cuda_graph import Capture, CaptureError

LOG = logging.getLogger(__name__)

Losses = dict[str, Tensor]
Function = Callable[..., Losses]

WARM_UP = 3
"""Calls before the capture, so that libraries have loaded and chosen their kernels, and the optimizer has its state."""


class Repeated:
    """A function of tensors, of the same shapes at each call, that is captured after a few calls and then replayed.

    Where capturing fails, a warning says so, and the function goes on being called.

    Args:
        function: What it does depends on tensors alone, and it changes nothing but tensors in place.
        capture: Makes the replay.
    """

    def __init__(self, function: Function, capture: Capture[Losses]) -> None:
        self._function, self._capture = function, capture
        self._replay: Function | None = None
        self._left = WARM_UP

    def __call__(self, *inputs: Tensor) -> Losses:
        """What the function does and returns."""
        if self._left:
            self._left -= 1
            return self._capture.run(self._function, *inputs)
        if self._replay is None:
            self._replay = self._captured(inputs)
        return self._replay(*inputs)

    def _captured(self, inputs: tuple[Tensor, ...]) -> Function:
        try:
            return self._capture(self._function, *inputs)
        except CaptureError as error:
            LOG.warning("The training step can't be captured as a CUDA graph, and goes on without: %s", error)
            return self._function
