"""LR patches for training another model, drawn anew for each batch: python examples/degrade.py photos/"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dasr_fast.degradation import preset


def main(photos: str, batches: int = 3, batch: int = 4, size: int = 96) -> Iterator[tuple[Tensor, Tensor]]:
    """LR `[batch, 3, size / 4, size / 4]` and HR `[batch, 3, size, size]` in 0 to 255."""
    images = [torch.from_numpy(np.array(Image.open(path).convert("RGB"))) for path in sorted(Path(photos).iterdir())]
    degrade, random = preset("photo", scale=4), torch.Generator().manual_seed(0)
    for _ in range(batches):
        patches = []
        for i in torch.randint(len(images), (batch,), generator=random).tolist():
            height, width, _ = images[i].shape
            top = int(torch.randint(height - size + 1, (), generator=random))
            left = int(torch.randint(width - size + 1, (), generator=random))
            patches.append(images[i][top : top + size, left : left + size].permute(2, 0, 1))
        hr = torch.stack(patches).float()
        lr, _ = degrade(hr[:, None], generator=random)
        yield lr[:, 0], hr


if __name__ == "__main__":
    for lr, hr in main(sys.argv[1]):
        print(list(lr.shape), list(hr.shape))
