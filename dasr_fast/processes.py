"""The processes that train together, one or several that `torchrun` started, and the signals that stop them."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist

PATIENCE = timedelta(days=1)
"""How long processes wait for one that validates or writes."""

_FLAG = torch.zeros(())
"""What processes tell each other. It outlives every message: gloo's threads let go of one when they come to it, and a
thread that must then free a tensor of Python's, while Python ends, aborts the process."""


@dataclass(frozen=True)
class Processes:
    """This process among those that train together.

    Attributes:
        device: Where this one computes.
        rank: Its number.
        world: How many there are.
        control: Group for messages between CPUs, if there are several.
    """

    device: torch.device
    rank: int = 0
    world: int = 1
    control: Any = None

    def any(self, here: bool) -> bool:
        """Whether it is so in any process; all must ask, and each waits for the others."""
        if self.world == 1:
            return here
        _FLAG.fill_(here)
        dist.all_reduce(_FLAG, group=self.control)
        return _FLAG.item() > 0


def world_size() -> int:
    """How many processes `torchrun` started, by its environment variables; 1 if it started none."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: torch.device) -> Iterator[Processes]:
    """This process, joined with the others of `torchrun` (its environment variables) if there are any.

    Raises:
        ValueError: There are fewer GPUs than processes on this machine.
    """
    world = world_size()
    if world == 1:
        yield Processes(device)
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        if device.index >= torch.cuda.device_count():
            raise ValueError(
                f"There are {torch.cuda.device_count()} GPUs for {os.environ['LOCAL_WORLD_SIZE']} processes."
            )
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Processes(device, dist.get_rank(), world, dist.new_group(backend="gloo", timeout=PATIENCE))
    finally:
        dist.destroy_process_group()


class Interruption:
    """Which signal asked to stop: its number, or None."""

    signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal is not None


@contextmanager
def interruptible(requested: Callable[[], None]) -> Iterator[Interruption]:
    """Inside, the first Ctrl-C or SIGTERM is a request, which calls `requested`; the second does what signals do."""
    interruption = Interruption()

    def request(number: int, _: FrameType | None) -> None:
        interruption.signal = number
        restore()
        requested()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interruption
    finally:
        restore()
