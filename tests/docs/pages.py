"""Blocks of code in the Markdown files, and the names and files with which they run."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from golden import arrays
from PIL import Image
from training.small_run import make_images

import dasr_fast
from dasr_fast.models import BlindSR, save_weights
from tests.released.network import Blind

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^(?:<!-- (not run|from): ([^\n]+) -->\n+)?( *)```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        code: Its lines, without indentation of the block as a whole.
        language: "python", "sh", "cpp", or "".
        line: Its first line in the page, from 1.
        mark: "not run" or "from", if a comment before it says so.
        said: What that comment says.
    """

    code: str
    language: str
    line: int
    mark: str | None
    said: str | None


def blocks(page: Path) -> list[Block]:
    """The blocks of a page."""
    text = page.read_text()
    found = []
    for block in _BLOCK.finditer(text):
        mark, said, indentation, language, code = block.groups()
        code = re.sub(rf"^{indentation}", "", code, flags=re.MULTILINE)
        found.append(Block(code, language, text.count("\n", 0, block.start(5)) + 1, mark, said))
    return found


def command_lines(block: Block) -> Iterator[str]:
    """The calls of `dasr-fast` in a block, without comments."""
    for line in block.code.replace("\\\n", "").splitlines():
        if line.startswith("dasr-fast "):
            yield line.split("  #")[0]


def make_files(folder: Path) -> None:
    """The files that the pages name, small."""
    image = Image.fromarray(arrays("evaluation")["hr"].numpy())
    image.resize((24, 20)).save(folder / "photo.png")
    for name in ("photos", "others"):
        make_images(folder / name, count=3)
    save_weights(BlindSR(4, channels=8, groups=1, blocks=1), folder / "small.safetensors")
    torch.save(BlindSR(4).state_dict(), folder / "model_600.pt")


def names() -> dict[str, Any]:
    """The names that the pages use without defining them."""
    channels, image = 64, np.linspace(0, 255, 20 * 24 * 3).reshape(20, 24, 3).astype(np.uint8)
    images = torch.rand(2, 3, 32, 32)
    return {
        "torch": torch,
        "dasr_fast": dasr_fast,
        "model": Blind(4, groups=1, blocks=1).eval(),
        "image": image,
        "lr": torch.rand(2, 3, 24, 24) * 255,
        "hr": torch.rand(2, 2, 3, 96, 96) * 255,
        "target": torch.rand(2, 3, 96, 96) * 255,
        "images": images,
        "targets": images.flip(-1),
        "kernels": torch.rand(2, 7, 7).softmax(-1) / 7,
        "x": torch.randn(2, channels, 12, 10),
        "kernel": torch.randn(2, channels, 3, 3),
        "weight": torch.randn(channels, channels),
        "bias": torch.randn(channels),
        "gate": torch.rand(2, channels),
    }
