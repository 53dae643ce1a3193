"""Suite `degradation`: of a training batch, at random; suite `ops` has blurs that are given, and compares results."""

from collections.abc import Callable, Iterator

from torch import Tensor

from benchmarks.harness.work import BASELINE, Contender, Inputs, Settings, Work
from benchmarks.suites.network import smooth_images
from benchmarks.suites.variants import accelerated, compiled
from dasr_fast.degradation import Degradation
from tests.released.baseline import find_baseline

SCALE = 4


def works(settings: Settings) -> Iterator[Work]:
    """32 pairs of 192x192 patches as in training, 8 if quick: drawn kernels and noise, downsampled, rounded."""
    batch = 8 if settings.quick else 32
    baseline = find_baseline(settings.reference, settings.device)

    def inputs() -> Inputs:
        return (smooth_images(2 * batch, 192, 192).view(batch, 2, 3, 192, 192).to(settings.device),)

    def fast() -> Callable[[Tensor], Tensor]:
        degradation = Degradation(SCALE, "anisotropic", 25.0)
        return lambda hr: degradation(hr)[0]

    contenders = {BASELINE: Contender(lambda: baseline.degradation(SCALE))}
    if not settings.quick:
        contenders["released, compiled"] = Contender(lambda: compiled(baseline.degradation(SCALE)))
    if settings.reference is not None:
        contenders["accelerate(released)"] = Contender(lambda: accelerated(baseline.degradation(SCALE)))
    contenders["dasr-fast"] = Contender(fast)
    contenders["dasr-fast, uint8"] = Contender(fast, lambda inputs: (inputs[0].byte(),))
    yield Work("degradation", f"degradation of {batch}x2x3x192x192", inputs, contenders, None, settings.tolerance)
