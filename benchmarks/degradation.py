"""Suite `degradation`: the degradation of a training batch, and blur with bicubic downsampling of a photograph."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from benchmarks import released
from benchmarks.timing import BASELINE, Work
from dasr_fast import ops
from dasr_fast.degradation import Degradation, gaussian_kernel


def works(photo: Tensor, device: str, quick: bool) -> Iterator[Work]:
    """Batches of pairs of 192 x 192 patches as in training (4 pairs if `quick`, else 32), and the photograph."""
    batch = 4 if quick else 32
    patches = torch.randint(256, (batch, 2, 3, 192, 192), dtype=torch.uint8).float().to(device)
    degradation = Degradation(4, "anisotropic", 25.0)
    yield Work(
        "degradation",
        f"training batch {batch}x2x3x192x192",
        {
            BASELINE: partial(released.degrade, patches, 4, 25.0),
            "dasr-fast": lambda: degradation(patches)[0],
        },
        None,
    )
    kernel = gaussian_kernel(21, torch.tensor([2.0], device=device), 1.0, 0.5)
    images = photo[:, None, :, : photo.shape[2] // 4 * 4, : photo.shape[3] // 4 * 4].contiguous().to(device)
    yield Work(
        "degradation",
        f"photograph {images.shape[-1]}x{images.shape[-2]} to a quarter",
        {
            BASELINE: partial(released.blur_downsample, images, kernel, 4),
            "dasr-fast": partial(ops.blur_downsample, images, kernel, 4),
        },
        lambda: ops.blur_downsample(images.double(), kernel.double(), 4, backend="reference").cpu(),
    )
