"""What can be done to the released network, or to any call, without changing its code: the alternatives in PyTorch."""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

import dasr_fast
from benchmarks.harness.work import Call, Settings
from dasr_fast import precision

Changed = TypeVar("Changed")


class Variant(NamedTuple):
    """A change of the released network, and what it then computes in; bfloat16 is by autocast."""

    change: Callable[[nn.Module], nn.Module]
    dtype: str = "float32"


def of_network(settings: Settings, *, compiles: bool, mode: str) -> dict[str, Variant]:
    """All that are possible here, by name; whether some are compiled, and the mode of the one that takes long."""
    found = {"released": Variant(lambda network: network), "released, channels-last": Variant(last)}
    if settings.quick:
        return found
    found["released, bf16"] = Variant(lambda network: network, "bfloat16")
    found["released, channels-last bf16"] = Variant(last, "bfloat16")
    if compiles:
        found["released, compiled"] = Variant(in_parts("default"))
    if settings.everything or settings.device == "cuda":
        found["released, max-autotune"] = Variant(in_parts(mode))
        found["released, max-autotune bf16"] = Variant(lambda network: in_parts(mode)(last(network)), "bfloat16")
    found["accelerate(released)"] = Variant(accelerated)
    if precision.emulates_bfloat16(settings.device):
        found = {name: one for name, one in found.items() if one.dtype != "bfloat16"}
    return found


def last(network: nn.Module) -> nn.Module:
    """Weights channels-last, so that features are."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def in_parts(mode: str) -> Callable[[nn.Module], nn.Module]:
    """By `torch.compile`: the SR network and both encoders, since the contrast between them can't be compiled."""

    def change(network: nn.Module) -> nn.Module:
        for name in ("G", "E.encoder_q", "E.encoder_k"):
            network.get_submodule(name).compile(dynamic=False, mode=mode)
        return network

    return change


def accelerated(network: Changed) -> Changed:
    """By `dasr_fast.accelerate`, without its log."""
    logging.getLogger("dasr_fast").setLevel(logging.WARNING)
    return dasr_fast.accelerate(network)


def compiled(call: Call, mode: str = "default") -> Call:
    """By `torch.compile`, for these sizes alone."""
    return torch.compile(call, dynamic=False, mode=mode)


def in_graph(call: Call) -> Call:
    """Captured in a CUDA graph at the first call."""
    captured: list[Call] = []

    def replay(*inputs: Tensor) -> Any:
        if not captured:
            captured.append(torch.cuda.make_graphed_callables(call, inputs))
        return captured[0](*inputs)

    return replay
