"""All suites, and how a work of each is measured."""

import gc
from collections.abc import Iterator
from types import ModuleType

import torch

from benchmarks import degradation, memory, network, ops, scaling, training
from benchmarks.results import Result
from benchmarks.timing import Effort, compare
from benchmarks.work import Settings, Work

SUITES: dict[str, ModuleType] = {
    "ops": ops,
    "degradation": degradation,
    "network": network,
    "training": training,
    "memory": memory,
    "scaling": scaling,
}
"""By name; each has `works(settings)` and `left_out(settings)`."""

QUICK = Effort(seconds=0.2, least=3, most=5, round_seconds=0.03)


def works(suites: tuple[str, ...], settings: Settings) -> Iterator[Work]:
    """Works of some suites."""
    for name in suites:
        yield from SUITES[name].works(settings)


def measured(work: Work, settings: Settings, effort: Effort) -> list[Result]:
    """Results of all contenders of a work, whose memory is free afterwards."""
    if work.suite == "memory":
        return memory.measure(work, settings)
    try:
        return compare(work, settings.device, effort)
    finally:
        torch.compiler.reset()
        gc.collect()  # Steps refer to themselves, and hold the memory of their CUDA graphs.


def left_out(suites: tuple[str, ...], settings: Settings) -> list[str]:
    """What those suites don't compare, and why: sentences."""
    return [reason for name in suites for reason in SUITES[name].left_out(settings)]
