"""Compare weights with bicubic upsampling on your pictures: python examples/evaluate.py photos/ x4"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dasr_fast.evaluation import Setting, bicubic, evaluate_image, mean_score, network
from dasr_fast.models import BlindSR


def main(photos: str, weights: str = "x4") -> dict[str, float]:
    """Mean PSNR in dB of both, for a blur of width 2.4."""
    model = BlindSR.from_pretrained(weights).eval()
    methods = {"bicubic": bicubic(model.scale), weights: network(model)}
    scores = {}
    for name, restore in methods.items():
        rows = []
        for path in sorted(Path(photos).iterdir()):
            hr = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
            rows.append(evaluate_image(hr, path.name, restore, Setting(sigma=2.4), model.scale))
        scores[name] = mean_score(rows).psnr
    return scores


if __name__ == "__main__":
    for name, psnr in main(*sys.argv[1:]).items():
        print(f"{name}: {psnr:.2f} dB")
