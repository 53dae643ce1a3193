"""Train briefly, beginning with the weights of the package: python examples/train.py photos/ runs/mine"""

import sys
from pathlib import Path
from typing import Any

import torch

from dasr_fast.processes import Processes
from dasr_fast.training.configuration import configure
from dasr_fast.training.trainer import Trainer

SETTINGS = {"initial_weights": "x4", "encoder_steps": 0, "steps": 2000, "batch": 8, "patch": 32}


def main(photos: str, output: str, **settings: Any) -> None:
    """`settings` are named as the options of `dasr-fast train`, which also resumes runs and stops them orderly."""
    folder = Path(output)
    folder.mkdir(parents=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    Trainer(configure(None, {"data": photos, **SETTINGS, **settings}), folder, Processes(device)).train()


if __name__ == "__main__":
    main(*sys.argv[1:])
