"""One file that holds the pixels of many images and what is known of each: pixels, then an index, then a mark.

The mark is written last, and the file takes its name when it is whole, so that a file that can be read is complete.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dasr_fast.files import written_whole

Pixels = npt.NDArray[np.uint8]

_MARK = b"dasrpix1"  # The digit changes with the format, and with what decoding gives.
_LENGTH = 8  # Bytes before the mark that hold the length of the index.


@dataclass(frozen=True)
class Entry:
    """What is known of one image.

    Attributes:
        name: Path of its file within the folder, with slashes.
        bytes: Size of that file.
        modified: When that file was changed last, in nanoseconds.
        height, width: In pixels; 0 if it can't be decoded.
        offset: Where its pixels begin, or None if they aren't stored.
        problem: Why it can't be decoded, or None.
    """

    name: str
    bytes: int
    modified: int
    height: int = 0
    width: int = 0
    offset: int | None = None
    problem: str | None = None

    @property
    def pixel_bytes(self) -> int:
        """Bytes that its pixels take as RGB."""
        return 3 * self.height * self.width


class PixelFile:
    """A file of pixels, mapped into memory. One that is missing, of another format or not whole holds no entries.

    Attributes:
        entries: In the order in which they were written.
        stored: Whether the pixels are there, not the entries alone.
    """

    def __init__(self, path: Path) -> None:
        self._content: Pixels = _mapped(path)
        self.entries = _entries(self._content)
        self.stored = any(entry.offset is not None for entry in self.entries)

    def pixels(self, entry: Entry) -> Pixels:
        """The stored pixels of an entry, `[3, H, W]`, without a copy."""
        assert entry.offset is not None
        return self._content[entry.offset :][: entry.pixel_bytes].reshape(3, entry.height, entry.width)


def write_pixel_file(path: Path, images: Iterable[tuple[Entry, Pixels | None]], limit_bytes: float) -> None:
    """Write entries and their pixels, `[3, H, W]` or None, whole or not at all; a file that exists is replaced.

    If all pixels together are more than the limit, none are stored.
    """
    entries: list[Entry] = []
    end, fits = 0, True
    with written_whole(path) as temporary, temporary.open("wb") as file:
        for entry, pixels in images:
            if pixels is not None:
                end += pixels.nbytes
                if fits and end > limit_bytes:
                    fits = False
                    file.seek(0)
                    file.truncate()
                elif fits:
                    file.write(pixels.data)
            entries.append(replace(entry, offset=None if pixels is None else end - pixels.nbytes))
        if not fits:
            entries = [replace(entry, offset=None) for entry in entries]
        index = json.dumps([asdict(entry) for entry in entries]).encode()
        file.write(index + len(index).to_bytes(_LENGTH, "little") + _MARK)
        file.flush()
        os.fsync(file.fileno())


def _mapped(path: Path) -> Pixels:
    if not path.is_file() or path.stat().st_size == 0:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


def _entries(content: Pixels) -> list[Entry]:
    """What the index holds; nothing if the file isn't whole, or the index isn't that of the pixels before it."""
    end = len(content) - len(_MARK) - _LENGTH
    if end < 0 or content[end + _LENGTH :].tobytes() != _MARK:
        return []
    start = end - int.from_bytes(content[end : end + _LENGTH].tobytes(), "little")
    try:
        entries = [Entry(**fields) for fields in json.loads(content[max(start, 0) : end].tobytes())]
        offset = 0
        for entry in entries:
            if entry.offset is not None:
                if entry.offset != offset:
                    return []
                offset += entry.pixel_bytes
    except (ValueError, TypeError):
        return []
    return entries if offset == start else []
