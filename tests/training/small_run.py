"""Small runs for the tests of training."""

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Settings = dict[str, Any]

NETWORK = {"scale": 2, "groups": 1, "blocks": 1, "channels": 8, "queue": 16, "patch": 16, "batch": 4}
STEPS = {"encoder_steps": 3, "steps": 4, "log_every": 1, "save_every": 2}

TRAIN = ["-m", "dasr_fast", "train"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def make_images(folder: Path, count: int = 6) -> Path:
    """A folder of images of 70 x 80 with structure of several sizes."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for i in range(count):
        image = Image.fromarray(random.integers(0, 256, (12, 14, 3), dtype=np.uint8))
        image.resize((80, 70), Image.Resampling.BICUBIC).save(folder / f"{i}.png")
    return folder


def small_settings(photos: Path) -> Settings:
    """A run of seven steps, three of the encoder alone."""
    return {"data": photos, "cache": photos.parent / "cache", "device": "cpu", **NETWORK, **STEPS}


def as_options(settings: Settings) -> list[str]:
    """Settings as the command line takes them."""
    return [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", str(value))]
