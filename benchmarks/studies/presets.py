"""A picture of what each preset does: `python benchmarks/studies/presets.py`."""

import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from benchmarks.harness.documents import IMAGES
from benchmarks.harness.work import PHOTO
from dasr_fast.degradation import preset
from dasr_fast.degradation.presets import PRESETS
from dasr_fast.images import Picture, read_image, write_image

SCALE, COLUMNS, SHOWN, GAP = 4, 6, 2, 4
PART = (slice(96, 352), slice(128, 384))
"""Rows and columns of the photograph."""


def drawn(hr: Tensor, name: str) -> Tensor:
    """LR images of `COLUMNS` draws side by side, `[3, h, w]`, each pixel shown as `SHOWN` x `SHOWN`."""
    generator = torch.Generator().manual_seed(0)
    lr, _ = preset(name, SCALE)(hr.expand(COLUMNS, -1, -1, -1), generator=generator)
    large = lr.repeat_interleave(SHOWN, 2).repeat_interleave(SHOWN, 3)
    return torch.nn.functional.pad(large, (0, GAP, 0, GAP), value=255).permute(1, 2, 0, 3).flatten(2)


if __name__ == "__main__":
    hr = read_image(PHOTO).tensor()[..., PART[0], PART[1]]
    rows = torch.cat([drawn(hr, name) for name in PRESETS], 1)[:, :-GAP, :-GAP]
    pixels = rows.permute(1, 2, 0).byte().numpy()
    write_image(IMAGES / "degradations.jpg", Picture(pixels))
