"""Restore frames that are degraded alike, with one representation: python examples/frames.py frames/ large/"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR


def main(source: str, target: str, weights: str = "x4") -> None:
    engine = Engine(BlindSR.from_pretrained(weights))
    paths = sorted(Path(source).iterdir())
    frames = (torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) for path in paths)
    Path(target).mkdir(exist_ok=True)
    for path, sr in zip(paths, engine.stream(frames, representation="first"), strict=True):
        pixels = sr.round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0)
        Image.fromarray(pixels.cpu().numpy()).save(Path(target, path.stem + ".png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
