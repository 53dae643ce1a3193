"""Frames through a GPU: uploads and downloads while others are computed."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

Tensors = tuple[Tensor, ...]


def overlapped(
    frames: Iterable[Tensor], compute: Callable[[Tensor], Tensors], transfers: "CudaTransfers"
) -> Iterator[tuple[Tensor, Tensors]]:
    """Each frame and what `compute` makes of it, in order, on the host.

    A result is waited for only when the next frame is under way, so that at most two are. `compute` has the frame on
    the device, and must not wait for it.
    """
    under_way: deque[tuple[Tensor, Callable[[], Tensors]]] = deque()
    for frame in frames:
        under_way.append((frame, transfers.download(compute(transfers.upload(frame)))))
        if len(under_way) == 2:
            earlier, wait = under_way.popleft()
            yield earlier, wait()
    for frame, wait in under_way:
        yield frame, wait()


class CudaTransfers:
    """Copies on a stream for each direction, by way of pinned memory, which PyTorch keeps and uses again."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._up, self._down = (torch.cuda.Stream(device) for _ in range(2))  # type: ignore[no-untyped-call]

    def upload(self, tensor: Tensor) -> Tensor:
        """The tensor on the device, for the computation that comes next."""
        computation = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._up):
            uploaded = tensor.pin_memory().to(self._device, non_blocking=True)
        computation.wait_stream(self._up)
        uploaded.record_stream(computation)
        return uploaded

    def download(self, tensors: Tensors) -> Callable[[], Tensors]:
        """Starts to copy the computation's results to the host; the function waits for the copies and returns them."""
        self._down.wait_stream(torch.cuda.current_stream(self._device))
        copies = tuple(
            torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu", pin_memory=True) for tensor in tensors
        )
        with torch.cuda.stream(self._down):
            for copy, tensor in zip(copies, tensors, strict=True):
                copy.copy_(tensor, non_blocking=True)
                tensor.record_stream(self._down)
            copied = self._down.record_event()

        def wait() -> Tensors:
            copied.synchronize()
            return copies

        return wait
