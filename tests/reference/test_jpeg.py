import io

import numpy as np
import pytest
import torch
from PIL import Image

from dasr_fast import reference


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_equal_to_pillow(subsampling: int):
    generator = np.random.default_rng(subsampling)
    for quality in (1, 5, 30, 49, 50, 75, 92, 100):
        for height, width in ((1, 1), (5, 3), (8, 16), (17, 35), (33, 6), (40, 49)):
            smooth = np.add.outer(np.arange(height) * 5, np.arange(width) * 3)[..., None] + [0, 60, 90]
            noise = generator.normal(0, 40, (height, width, 3))
            image = (smooth + noise).clip(0, 255).astype(np.uint8)
            pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
            result = reference.jpeg(pixels, torch.tensor([float(quality)]), torch.tensor([subsampling]))
            file = io.BytesIO()
            Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling=subsampling)
            expected = np.asarray(Image.open(file).convert("RGB"))
            assert np.array_equal(result[0].permute(1, 2, 0).numpy(), expected), (quality, height, width)


def test_gradient_passes_roundings():
    image = (torch.rand(2, 3, 24, 20, dtype=torch.float64) * 100 + 80).requires_grad_()
    y = reference.jpeg(image, torch.tensor([95.0, 60.0]), torch.tensor([0, 2]))
    direction = torch.randn_like(y)
    (gradient,) = torch.autograd.grad(y, image, direction)
    # Without subsampling nothing but roundings comes between, and far from black and white nothing is clamped.
    torch.testing.assert_close(gradient[0], direction[0], rtol=0, atol=0.02)
    # Luma passes as it is.
    luma = torch.einsum("chw->hw", direction[1])
    torch.testing.assert_close(torch.einsum("chw->hw", gradient[1]).sum(), luma.sum(), rtol=0.01, atol=0.5)
