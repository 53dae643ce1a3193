"""What reading and writing have to know of libvips itself."""

import os

_owner: int | None = None  # The process that has libvips' threads.


def use_threads(name: str) -> None:
    """Raise a RuntimeError in a process that was forked after libvips had started threads: it would wait for them."""
    global _owner
    if _owner not in (None, os.getpid()):
        raise RuntimeError(
            f"{name}: this process was forked from one that had read WebP or written images, and libvips would hang in "
            "it; start processes with the method spawn."
        )
    _owner = os.getpid()


def reason(error: Exception) -> str:
    """The last line of an error of libvips."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "libvips gave no reason"
