"""Bounds of the embeddings that weights know, measured on training images."""

import numpy as np
import torch
from torch import Tensor

from dasr_fast.degradation import Degradation
from dasr_fast.models import BlindSR
from dasr_fast.models.bounds import make_bounds
from dasr_fast.training.patches import Images

MOST = 1024
"""Pieces of images that are encoded; of few images, 16 of each."""

MARGIN = 1.0
"""Room beyond the outermost embedding: photographs of Set5, Set14 and B100 reach up to twice as far from the mean."""

SMALLEST, LARGEST = 16, 128
"""Sides of the pieces in LR pixels. Embeddings are means over pixels, so that those of larger pieces vary less."""


@torch.no_grad()
def measure_bounds(
    model: BlindSR, images: Images, degradation: Degradation, *, margin: float = MARGIN, seed: int = 0
) -> Tensor:
    """Bounds `[3, 256]` for `model.G.bounds`: of the embeddings of pieces of training images, each degraded anew.

    The pieces are squares of all sizes, smaller and larger than training's patches. The same arguments give the same
    bounds; no other random numbers are drawn.

    Args:
        model: In evaluation mode.
        images: HR images, each at least `16 * scale` high and wide; smaller ones are taken whole.
        degradation: What the weights were trained with.
        margin: See `make_bounds`.
        seed: Of all draws.
    """
    device = next(model.parameters()).device
    random, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    scale = degradation.scale
    embeddings = []
    for i in random.permutation(np.arange(16 * len(images)) % len(images))[:MOST]:
        image = images[int(i)]
        largest = min(*(length // scale for length in image.shape[:2]), LARGEST)
        smallest = min(SMALLEST, largest)
        # Squared, for more of the small ones, in which the zeros beyond the edges count most.
        side = round(smallest * (largest / smallest) ** (random.uniform() ** 2)) * scale
        top, left = (random.integers(length - side + 1) for length in image.shape[:2])
        piece = image[top : top + side, left : left + side].transpose(2, 0, 1)
        hr = torch.from_numpy(np.ascontiguousarray(piece))[None].to(device)
        embeddings.append(model.encode(degradation(hr, generator=generator)[0]))
    return make_bounds(torch.cat(embeddings), margin)
