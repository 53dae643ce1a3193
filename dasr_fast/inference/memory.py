"""How much memory there is, and what it looks like when there isn't enough."""

import re

import torch

from dasr_fast.memory import available_memory

NO_GRAPH = (0, 0)
"""PyTorch's name of the pool of memory that no CUDA graph has for itself."""

# PyTorch's allocator, our C++ kernels, oneDNN, cuBLAS, cuDNN, CUDA and Triton: each has its own words, and the same
# type as for all its errors.
_OUT_OF_MEMORY = re.compile(
    "DefaultCPUAllocator|^std::bad_alloc$|^dasr_fast_cpu: out of memory|^could not create a primitive$"
    "|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    r"|CUDA error: out of memory|CUDA: out of memory|Triton Error \[CUDA\]: out of memory"
)


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None where the system doesn't tell.

    On an NVIDIA GPU what PyTorch keeps for later counts as free, without what CUDA graphs hold. On a CPU see
    `available_memory`.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] + _kept_by_pytorch(device)
    if device.type == "cpu":
        return available_memory()
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory couldn't be had, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and bool(_OUT_OF_MEMORY.search(str(error)))


def _kept_by_pytorch(device: torch.device) -> int:
    """Bytes that PyTorch's allocator has and no tensor and no CUDA graph."""
    if torch.cuda.get_allocator_backend() != "native":
        return torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    index = torch.cuda.current_device() if device.index is None else device.index
    segments = torch.cuda.memory_snapshot()  # type: ignore[no-untyped-call]
    return sum(
        segment["total_size"] - segment["allocated_size"]
        for segment in segments
        if segment["device"] == index and tuple(segment["segment_pool_id"]) == NO_GRAPH
    )
