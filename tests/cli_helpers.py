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


def fails(call: Call, code: int, message: str, *arguments: object) -> str:
    """Run the command, which is to end with that code and one line that holds the message; returns the line."""
    found, _, error = call(*arguments)
    assert found == code
    assert one_line(error)
    assert message in error
    return error
