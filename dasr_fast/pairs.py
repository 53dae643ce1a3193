"""HR images and their LR images, in two folders."""

from collections.abc import Sequence
from pathlib import Path


def pairs(hr: Sequence[Path], lr: Sequence[Path], scale: int) -> dict[Path, Path]:
    """The LR image of each HR image: that of the same name without ending, or with `x` and the scale after it.

    Raises:
        ValueError: An HR image has no LR image, or several.
    """
    by_name: dict[str, list[Path]] = {}
    for path in lr:
        by_name.setdefault(path.stem, []).append(path)
    found = {}
    for path in hr:
        candidates = [file for name in (path.stem, f"{path.stem}x{scale}") for file in by_name.get(name, [])]
        if len(candidates) != 1:
            number = "no LR image" if not candidates else "several LR images"
            raise ValueError(f"{path} has {number} called {path.stem} or {path.stem}x{scale}.")
        found[path] = candidates[0]
    return found
