"""HR images and their LR images, in two folders."""

from collections.abc import Sequence
from pathlib import PurePath


def pairs(hr: Sequence[str], lr: Sequence[str], scale: int) -> list[int]:
    """For each HR image the number of its LR image: that of the same name, or with `x` and the scale after it.

    Names may be paths within the folders; endings such as `.png` don't count.

    Raises:
        ValueError: An HR image has no LR image, or several.
    """
    by_name: dict[PurePath, list[int]] = {}
    for number, name in enumerate(lr):
        by_name.setdefault(PurePath(name).with_suffix(""), []).append(number)
    found = []
    for name in hr:
        plain = PurePath(name).with_suffix("")
        marked = plain.with_name(f"{plain.name}x{scale}")
        candidates = by_name.get(plain, []) + by_name.get(marked, [])
        if len(candidates) != 1:
            raise ValueError(f"{name} has {len(candidates) or 'no'} LR images called {plain} or {marked}.")
        found += candidates
    return found
