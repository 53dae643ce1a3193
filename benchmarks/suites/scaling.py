"""Suite `scaling`: time of the network against pixels, and against the batch."""

from collections.abc import Iterator

from benchmarks.harness.work import Settings, Work
from benchmarks.suites.network import Case, contenders, network_work

SCALE = 4
CONTENDERS = ("released", "released, CUDA graph", "accelerate(released)", "dasr-fast", "Engine fp32", "Engine fp16")

FEW = ("released", "dasr-fast", "Engine fp32")


def works(settings: Settings) -> Iterator[Work]:
    """Squares of growing sides, one at a time; then growing batches of 48x48."""
    everybody = contenders(SCALE, settings, compiles=False)
    some = {name: everybody[name] for name in (FEW if settings.quick else CONTENDERS) if name in everybody}
    for case in cases(settings):
        yield network_work("scaling", case, settings, some)


def cases(settings: Settings) -> list[Case]:
    """Sizes and batches for this device."""
    large = settings.device == "cuda" or settings.everything
    sides = (24, 48) if settings.quick else (32, 64, 128, 256, *((512, 1024) if large else ()))
    batches = () if settings.quick else (1, 2, 4, 8, 16, *((32, 64) if large else ()))
    squares = [Case(side, side, SCALE, 1) for side in sides]
    return squares + [case for batch in batches if (case := Case(48, 48, SCALE, batch)) not in squares]
