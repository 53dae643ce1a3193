"""Training images: any folder tree, decoded once into a file that is mapped into memory."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from dasr_fast.files import SUFFIXES, cache_folder, search
from dasr_fast.images import ImageError, read_image
from dasr_fast.progress import Progress
from dasr_fast.training.background import computed_ahead
from dasr_fast.training.pixel_file import Entry, PixelFile, Pixels, write_pixel_file


class ImageCache:
    """The images of a folder and its subfolders as 8-bit RGB, in the order of their names.

    Grey becomes RGB, 16 bits 8, palettes and CMYK sRGB; transparency is dropped, and images are turned upright.

    `cache[i]` is the uint8 array `[H, W, 3]` of image i, read-only and laid out channel by channel. It comes from
    the memory map, or is decoded at every call if the images are `streamed`.

    Attributes:
        folder: Where the images are.
        names: Their paths within the folder, with slashes.
        skipped: Files that are left out, and one sentence each that says why.
        streamed: Whether images are decoded when asked for, since they were too many to store.
    """

    def __init__(self, folder: Path, entries: list[Entry], file: PixelFile, skipped: dict[Path, str]) -> None:
        self.folder, self.skipped, self.streamed = folder, skipped, not file.stored
        self.names = [entry.name for entry in entries]
        self._entries, self._file = entries, file

    @classmethod
    def open(
        cls, folder: str | Path, cache: str | Path | None = None, *, smallest: int, limit_bytes: int | None = None
    ) -> "ImageCache":
        """The images of a folder; decodes those that aren't in the cache, or that changed since.

        A progress bar is on standard error where someone can see it. Of several processes that open one folder, one
        decodes and the others wait for it.

        Args:
            folder: Holds the images, also in subfolders and behind links. Names that begin with a dot are left out.
            cache: Folder in which decoded images are kept, a subfolder for each folder of images. By default
                `$XDG_CACHE_HOME/dasr-fast/images`, or `~/.cache/dasr-fast/images`.
            smallest: Least height and width in pixels; smaller images are left out.
            limit_bytes: If the images take more in memory (3 bytes a pixel), they are streamed: each was decoded
                once, so that broken ones are known, but isn't stored. By default what fits is stored: nine tenths of
                the disk's free space.

        Raises:
            FileNotFoundError: There is no such folder.
            ValueError: No image is left, or an argument is out of range.
            OSError: The cache can't be written, or the disk fails.
        """
        for name, value, least in (("smallest", smallest, 1), ("limit_bytes", limit_bytes or 0, 0)):
            if value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
        if not Path(folder).is_dir():
            raise FileNotFoundError(f"There is no folder {folder} of images.")
        folder = Path(folder).resolve()
        found, skipped = _find(folder)
        file = _decoded(folder, found, _cache_folder(folder, cache), limit_bytes)
        entries = []
        for entry in file.entries:
            if entry.problem is not None:
                skipped[folder / entry.name] = entry.problem
            elif min(entry.height, entry.width) < smallest:
                skipped[folder / entry.name] = (
                    f"{folder / entry.name} has {entry.width}x{entry.height} pixels; "
                    f"at least {smallest}x{smallest} are needed."
                )
            else:
                entries.append(entry)
        if not entries:
            first = f"; the first of {len(skipped)}: {min(skipped.items())[1]}" if skipped else "."
            raise ValueError(f"The folder {folder} holds no image ({', '.join(SUFFIXES)}) that can be used{first}")
        return cls(folder, entries, file, dict(sorted(skipped.items())))

    def __len__(self) -> int:
        return len(self._entries)

    def size(self, index: int) -> tuple[int, int]:
        """Height and width of an image."""
        entry = self._entries[index]
        return entry.height, entry.width

    def __getitem__(self, index: int) -> Pixels:
        entry = self._entries[index]
        if not self.streamed:
            return self._file.pixels(entry).transpose(1, 2, 0)
        pixels = _decode(self.folder / entry.name)
        if pixels.shape[1:] != (entry.height, entry.width):
            raise ImageError(f"{self.folder / entry.name} was changed while it was in use.")
        pixels.flags.writeable = False
        return pixels.transpose(1, 2, 0)


def _find(folder: Path) -> tuple[list[Entry], dict[Path, str]]:
    """Image files, not decoded yet, in the order of their names, and those that can't be read."""
    found, skipped = [], {}
    for path in search(folder, follow_links=True)[0]:
        if path.is_file() and os.access(path, os.R_OK):
            status = path.stat()
            found.append(Entry(path.relative_to(folder).as_posix(), status.st_size, status.st_mtime_ns))
        else:
            skipped[path] = f"{path} can't be read: it is no file, or reading isn't allowed."
    return sorted(found, key=lambda entry: entry.name), skipped


def _cache_folder(folder: Path, cache: str | Path | None) -> Path:
    """Where the decoded images of `folder` are kept."""
    cache = cache_folder() / "images" if cache is None else Path(cache)
    return cache / f"{folder.name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def _decoded(folder: Path, found: list[Entry], cache: Path, limit_bytes: int | None) -> PixelFile:
    """The file of pixels of just these images, made or brought up to date first where it must be."""
    path = cache / "images.pixels"
    file = PixelFile(path)
    if _up_to_date(file, found, cache, limit_bytes):
        return file
    with _locked(cache):
        file = PixelFile(path)
        if _up_to_date(file, found, cache, limit_bytes):
            return file  # Made by another process meanwhile.
        for left_over in cache.glob(f".*{path.suffix}"):
            left_over.unlink()  # A process that was killed left it.
        _decode_changed(path, file, folder, found, _limit(cache, limit_bytes))
        return PixelFile(path)


def _decode_changed(path: Path, file: PixelFile, folder: Path, found: list[Entry], limit: int) -> None:
    """Writes the images found to `path`: from `file` what is known there, and what isn't decoded."""
    known = {(entry.name, entry.bytes, entry.modified): entry for entry in file.entries}
    entries = [known.get((entry.name, entry.bytes, entry.modified), entry) for entry in found]
    store = sum(entry.pixel_bytes for entry in entries) <= limit

    def image(entry: Entry) -> tuple[Entry, Pixels | None]:
        if entry.problem is not None or (entry.height and not store):
            return entry, None
        if entry.offset is not None:
            return entry, file.pixels(entry)
        try:
            pixels = _decode(folder / entry.name)
        except ImageError as error:
            return replace(entry, problem=str(error)), None
        return replace(entry, height=pixels.shape[1], width=pixels.shape[2]), pixels

    workers = min(os.cpu_count() or 1, 8)
    images = (result for _, result in computed_ahead(image, entries, ahead=2 * workers, workers=workers))
    write_pixel_file(path, Progress(images, "Decoding images", len(entries)), limit if store else 0)


def _up_to_date(file: PixelFile, found: list[Entry], cache: Path, limit_bytes: int | None) -> bool:
    """Whether the file holds just these images, and stores them if, and only if, that is within the limit."""
    if [(e.name, e.bytes, e.modified) for e in file.entries] != [(e.name, e.bytes, e.modified) for e in found]:
        return False
    total = sum(entry.pixel_bytes for entry in file.entries)
    if file.stored:
        return limit_bytes is None or total <= limit_bytes
    return total == 0 or total > _limit(cache, limit_bytes)


def _limit(cache: Path, limit_bytes: int | None) -> int:
    return shutil.disk_usage(cache).free * 9 // 10 if limit_bytes is None else limit_bytes


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    """Makes the folder and keeps other processes from the block meanwhile."""
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(cache / "lock").acquire()  # Ends with the process, too.
    except OSError as error:
        raise OSError(
            f"The folder {cache} for decoded images can't be written ({error.strerror}); name another as cache."
        ) from None
    with lock:
        yield


def _decode(path: Path) -> Pixels:
    """An image as 8-bit RGB, `[3, H, W]`."""
    pixels = read_image(path).pixels
    if pixels.dtype == np.uint16:
        pixels = (pixels.astype(np.uint32) + 128) // 257  # Rounds x / 257.
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return np.ascontiguousarray(rgb.transpose(2, 0, 1), dtype=np.uint8)
