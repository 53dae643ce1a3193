"""What the tests of the command line share."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Call = Callable[..., tuple[int, str, str]]


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def one_line(error: str) -> bool:
    return error.startswith("dasr-fast: ") and error.count("\n") == 1 and "Traceback" not in error
