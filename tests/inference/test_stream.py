"""The order of things with transfers that only note them, and on a GPU the transfers themselves."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from dasr_fast.inference.stream import CudaTransfers, Tensors, overlapped


class Notes:
    """Transfers that note what happens to which frame."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def upload(self, tensor: Tensor) -> Tensor:
        self.events.append(f"upload {tensor.item():g}")
        return tensor + 100

    def download(self, tensors: Tensors) -> Callable[[], Tensors]:
        frame = f"{tensors[0].item() - 200:g}"
        self.events.append(f"download {frame}")

        def wait() -> Tensors:
            self.events.append(f"wait {frame}")
            return tuple(tensor - 100 for tensor in tensors)

        return wait


def numbers(count: int) -> Iterator[Tensor]:
    yield from (torch.tensor(float(i)) for i in range(count))


def test_a_result_is_waited_for_when_the_next_frame_is_under_way():
    notes = Notes()
    results = []
    for frame, (result,) in overlapped(numbers(3), lambda x: (x + 100,), notes):
        notes.events.append(f"result {frame.item():g}")
        results.append(result.item() - frame.item())
    assert results == [100, 100, 100]
    assert notes.events == [
        *("upload 0", "download 0", "upload 1", "download 1", "wait 0", "result 0"),
        *("upload 2", "download 2", "wait 1", "result 1", "wait 2", "result 2"),
    ]


def test_frames_are_taken_one_ahead_only():
    taken = []

    def frames() -> Iterator[Tensor]:
        for frame in numbers(5):
            taken.append(frame.item())
            yield frame

    stream = overlapped(frames(), lambda x: (x + 100,), Notes())
    next(stream)
    assert taken == [0, 1]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_on_a_gpu():
    frames = [torch.full((3, 500, 500), float(i)) for i in range(20)]

    def compute(x: Tensor) -> Tensors:
        assert x.is_cuda
        torch.cuda._sleep(10**6)
        return x * 2, x.sum()

    for i, (frame, (double, total)) in enumerate(
        overlapped(iter(frames), compute, CudaTransfers(torch.device("cuda")))
    ):
        assert not double.is_cuda
        assert torch.equal(frame, frames[i])
        assert torch.equal(double, frames[i] * 2)
        assert total == frames[i].sum()
