from pathlib import Path

import pytest
import torch
from torch import Tensor

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.inference.memory import free_memory, is_out_of_memory


def test_a_device_of_which_nothing_is_known():
    assert free_memory(torch.device("meta")) is None


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux alone tells")
def test_this_machine():
    before = free_memory(torch.device("cpu"))
    assert before is not None
    assert before > 2**20


def test_what_cuda_graphs_hold_is_not_free(monkeypatch: pytest.MonkeyPatch):
    """With PyTorch's answers as documented; the second segment is a graph's, the last one another GPU's."""
    names = ("device", "segment_pool_id", "total_size", "allocated_size")
    rows = ((1, (0, 0), 500, 300), (1, (0, 7), 4000, 100), (1, (0, 0), 60, 0), (0, (0, 0), 9000, 0))
    monkeypatch.setattr(torch.cuda, "get_allocator_backend", lambda: "native")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10_000, 80_000))
    monkeypatch.setattr(torch.cuda, "memory_snapshot", lambda: [dict(zip(names, row, strict=True)) for row in rows])
    assert free_memory(torch.device("cuda", 1)) == 10_000 + 200 + 60


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_what_cuda_graphs_hold_on_a_gpu(monkeypatch: pytest.MonkeyPatch):
    def function(x: Tensor) -> Tensor:
        return (x + 1).sin() * 2

    def without_others(device: torch.device) -> tuple[int, int]:  # Who may be using the GPU, too.
        return 2**40 - torch.cuda.memory_reserved(device), 2**40

    monkeypatch.setattr(torch.cuda, "mem_get_info", without_others)
    device, x = torch.device("cuda", torch.cuda.current_device()), torch.ones(2**24, device="cuda")
    torch.cuda.empty_cache()
    before = free_memory(device)
    capture: CudaCapture[Tensor] = CudaCapture()
    graph = capture(function, x)
    after = free_memory(device)
    assert before is not None
    assert after is not None
    # Its buffer, its result and what was between.
    assert before - after >= 3 * x.nbytes
    del graph
    torch.cuda.empty_cache()
    left = free_memory(device)
    assert left is not None
    assert before - left < x.nbytes


def test_out_of_memory_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("could not create a primitive"))
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert is_out_of_memory(RuntimeError("dasr_fast_cpu: out of memory: 64 bytes can't be had."))
    for words in ("CUDA error: out of memory", "CUDA: out of memory", "Triton Error [CUDA]: out of memory"):
        assert is_out_of_memory(RuntimeError(f"{words}\nand more"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2, 3) @ torch.empty(2, 3)
    assert not is_out_of_memory(caught.value)
