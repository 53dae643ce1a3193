"""Ctrl-C and SIGTERM as requests, which are looked at between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Which signal asked to stop, if any.

    Attributes:
        signal: Its number, or None.
    """

    signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal is not None


@contextmanager
def interruptible(requested: Callable[[], None] = lambda: None) -> Iterator[Interruption]:
    """Inside, the first Ctrl-C or SIGTERM is a request, which calls `requested`; the second does what signals do."""
    interruption = Interruption()
    signals = (signal.SIGINT, signal.SIGTERM)

    def request(number: int, _: FrameType | None) -> None:
        interruption.signal = number
        restore()
        requested()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    before = {number: signal.signal(number, request) for number in signals}
    try:
        yield interruption
    finally:
        restore()
