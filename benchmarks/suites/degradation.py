"""Suite `degradation`: of a training batch, at random, and JPEG; suite `ops` has blurs that are given."""

from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
import torch
from torch import Tensor

from benchmarks.harness.work import BASELINE, Contender, Inputs, Settings, Work
from benchmarks.suites.network import smooth_images
from benchmarks.suites.variants import accelerated, compiled
from dasr_fast import ops
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

    def images_and_qualities() -> Inputs:
        qualities = torch.linspace(30, 95, batch).round()
        return smooth_images(batch, 192, 192).to(settings.device), qualities.to(settings.device)

    contenders = {BASELINE: Contender(lambda: by_pillow), "dasr-fast": Contender(lambda: ops.jpeg)}
    label = f"jpeg of {batch}x3x192x192 (released: Pillow)"
    yield Work("degradation", label, images_and_qualities, contenders, by_pillow, settings.tolerance)


def by_pillow(hr: Tensor, quality: Tensor) -> Tensor:
    """JPEG as libjpeg-turbo has it released, for one image after the other."""
    from PIL import Image

    results = []
    for pixels, number in zip(hr.permute(0, 2, 3, 1).round().byte().cpu().numpy(), quality.tolist(), strict=True):
        Image.fromarray(pixels).save(file := BytesIO(), "JPEG", quality=int(number), subsampling=2)
        results.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(results).permute(0, 3, 1, 2).to(hr)
