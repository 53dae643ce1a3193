"""In place of CUDA graphs where there is no GPU."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from dasr_fast.cuda_graph import CaptureError

Function = Callable[..., Any]


class StandIn:
    """Captures whose replays call the function with the buffers of the capture; or fail, where the first input `fails`.

    Notes how many numbers the first inputs had of what was warmed up, captured, replayed and let go.
    """

    def __init__(self, fails: Callable[[Tensor], bool] = lambda _: False) -> None:
        self.warmed: list[int] = []
        self.captured: list[int] = []
        self.replayed: list[int] = []
        self.released: list[int] = []
        self.fails = fails

    def run(self, function: Function, *inputs: Tensor) -> Any:
        self.warmed.append(inputs[0].numel())
        return function(*inputs)

    def __call__(self, function: Function, *inputs: Tensor) -> "Replay":
        self.captured.append(inputs[0].numel())
        if self.fails(inputs[0]):
            raise CaptureError("operation not permitted when stream is capturing")
        return Replay(self, function, inputs)


class Replay:
    def __init__(self, capture: StandIn, function: Function, inputs: tuple[Tensor, ...]) -> None:
        self.capture, self.function = capture, function
        self.buffers = [tensor.clone() for tensor in inputs]

    def __call__(self, *inputs: Tensor) -> Any:
        self.capture.replayed.append(inputs[0].numel())
        for buffer, tensor in zip(self.buffers, inputs, strict=True):
            assert (buffer.shape, buffer.dtype) == (tensor.shape, tensor.dtype)
            buffer.copy_(tensor)
        return self.function(*self.buffers)

    def __del__(self) -> None:
        self.capture.released.append(self.buffers[0].numel())
