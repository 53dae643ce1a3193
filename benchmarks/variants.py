"""What can be done to a PyTorch function or network without changing its code: the alternatives."""

from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.work import Call


def compiled(call: Call | nn.Module, mode: str = "default") -> Call:
    """By `torch.compile`, for these sizes alone."""
    return torch.compile(call, dynamic=False, mode=mode)


def in_bfloat16(call: Call, device: str) -> Call:
    """Under autocast."""

    def autocast(*inputs: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            return call(*inputs)

    return autocast


def in_graph(call: Call) -> Call:
    """Captured in a CUDA graph at the first call; later ones copy their inputs into its."""
    captured: list[tuple[torch.cuda.CUDAGraph, list[Tensor], Any]] = []

    def replay(*inputs: Any) -> Any:
        if not captured:
            captured.append(_capture(call, inputs))
        graph, own, output = captured[0]
        for mine, given in zip(own, _tensors(inputs), strict=True):
            mine.copy_(given)
        graph.replay()
        return output

    return replay


def _capture(call: Call, inputs: tuple[Any, ...]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], Any]:
    own = tuple(x.clone() if isinstance(x, Tensor) else x for x in inputs)
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):  # Choices of kernels and workspaces are made before the capture.
            call(*own)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = call(*own)
    return graph, _tensors(own), output


def _tensors(inputs: tuple[Any, ...]) -> list[Tensor]:
    return [x for x in inputs if isinstance(x, Tensor)]
