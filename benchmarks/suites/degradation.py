"""Suite `degradation`: of a training batch, and of a photograph with a given blur."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness.picture import unreadable
from benchmarks.harness.work import BASELINE, Contender, Inputs, Settings, Work
from benchmarks.suites.alternatives import ALTERNATIVES, OTHER
from benchmarks.suites.network import smooth_images
from benchmarks.suites.variants import accelerated, compiled
from dasr_fast import ops
from dasr_fast.degradation import Degradation, gaussian_kernel
from dasr_fast.images import read_image
from tests.released import ops as released_ops
from tests.released.baseline import find_baseline

SCALE = 4


def works(settings: Settings) -> Iterator[Work]:
    """32 pairs of 192x192 patches as in training, and the photograph if it can be read here; 8 pairs alone if quick."""
    yield of_patches(8 if settings.quick else 32, settings)
    if not settings.quick and unreadable() is None:
        yield of_photograph(settings)


def of_patches(batch: int, settings: Settings) -> Work:
    """Kernels, noise levels and noise drawn, patches blurred, downsampled, rounded."""
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
    return Work("degradation", f"degradation of {batch}x2x3x192x192", inputs, contenders, None, settings.tolerance)


def of_photograph(settings: Settings) -> Work:
    """Anisotropic blur, then bicubic downsampling to a quarter."""
    photo = read_image(settings.image).rgb()
    height, width = (size // SCALE * SCALE for size in photo.shape[2:])

    def inputs() -> Inputs:
        kernel = gaussian_kernel(21, torch.tensor([2.0]), 1.0, 0.5)
        return photo[:, None, :, :height, :width].contiguous().to(settings.device), kernel.to(settings.device)

    def expected(hr: Tensor, kernel: Tensor) -> Tensor:
        return ops.blur_downsample(hr.double(), kernel.double(), SCALE, backend="reference")

    def contender(function: Callable[..., Any], other: str = "") -> Contender:
        return Contender(lambda: partial(function, scale=SCALE), other=other)

    contenders = {BASELINE: contender(released_ops.blur_downsample)}
    for name, function in ALTERNATIVES["blur_downsample"].items():
        contenders[name] = contender(function, OTHER.get(name, ""))
    contenders["dasr-fast"] = contender(ops.blur_downsample)
    label = f"blur and bicubic, {width}x{height} to x1/{SCALE}"
    return Work("degradation", label, inputs, contenders, expected, settings.tolerance)
