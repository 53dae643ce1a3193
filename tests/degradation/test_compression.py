from io import BytesIO

import numpy as np
import torch
from PIL import Image

from dasr_fast.degradation.compression import Jpeg, compressed
from dasr_fast.degradation.part import Parameters


def by_pillow(image: torch.Tensor, quality: int, subsampling: int) -> torch.Tensor:
    file = BytesIO()
    pixels = image.round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    return torch.from_numpy(np.array(Image.open(file)).astype(np.float32)).permute(2, 0, 1)


def test_every_sample_has_its_quality():
    images = [torch.rand(2, 3, 20, 30 + i % 2) * 255 for i in range(6)]
    numbers = {
        "compresses": torch.arange(6) != 4,
        "quality": torch.tensor([30, 45, 60, 75, 90, 95]),
        "subsampling": torch.tensor([0, 1, 2, 0, 1, 2]),
    }
    part, drawn = Jpeg(), Parameters(numbers, torch.device("cpu"))
    for i, (image, result) in enumerate(zip(images, part.degrade(images, drawn), strict=True)):
        if i == 4:
            assert torch.equal(result, image)
            continue
        how = int(numbers["quality"][i]), int(numbers["subsampling"][i])
        assert torch.equal(result, torch.stack([by_pillow(patch, *how) for patch in image]))
    strengths = [70 / 15, 55 / 15, 40 / 15, 25 / 15, 0, 5 / 15]
    torch.testing.assert_close(part.describe(drawn), torch.tensor(strengths)[:, None])


def test_grey_is_compressed_as_grey():
    image = torch.rand(1, 1, 24, 24) * 255
    file = BytesIO()
    Image.fromarray(image[0, 0].round().byte().numpy()).save(file, "JPEG", quality=40)
    expected = torch.from_numpy(np.array(Image.open(file)).astype(np.float32))
    assert torch.equal(compressed(image, torch.tensor([40]))[0, 0], expected)
