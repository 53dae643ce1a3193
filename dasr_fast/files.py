"""Which files are images, where the cache is, and files that are written whole or not at all."""

import json
import os
import secrets
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff")
"""Endings of the files that are read and written."""

FRAME_SUFFIXES = (*SUFFIXES, ".gif")
"""Those where all frames of an animation are: GIF too, whose few colours make it a poor image otherwise."""


class WriteError(OSError):
    """A file can't be written; the message says which and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} can't be written: {reason}.")
        self.reason = reason


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path`, with the same ending, that takes its place if the block succeeds.

    Raises:
        FileNotFoundError: The folder of `path` doesn't exist.
        WriteError: Writing failed, as on a full disk.
    """
    path = Path(path)
    with _beside(path) as temporary:
        mode = stat.S_IMODE(temporary.stat().st_mode)
        yield temporary
        temporary.chmod(mode)  # Some libraries make files that only their owner can read.
        os.replace(temporary, path)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write a file of JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=1) + "\n")


def check_writable(path: str | Path) -> None:
    """Find out, before long work, whether a small file can be written to `path`, and leave no trace of it.

    Raises:
        FileNotFoundError: The folder of `path` doesn't exist.
        WriteError: The file can't be written.
    """
    path = Path(path)
    with _beside(path) as temporary:
        temporary.write_bytes(bytes(4096))
        with suppress(FileNotFoundError):
            path.lstat()  # Raises where the name is too long.


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A new empty file in the folder of `path` while the block runs; a failure to write it is one of `path`."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.parent} to write {path.name} into.")
    temporary = path.with_name(f".{secrets.token_hex(4)}{path.suffix}")
    try:
        temporary.touch(exist_ok=False)
        yield temporary
    except OSError as error:
        reason = error.reason if isinstance(error, WriteError) else error.strerror
        if reason is None or error.filename not in (None, str(temporary), str(path)):
            raise  # It is about something else.
        raise WriteError(path, reason) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def cache_folder() -> Path:
    """This program's part of the user's cache; it may not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dasr-fast"


def find_images(folder: str | Path) -> list[Path]:
    """Image files in a folder by their endings, sorted by name, but for hidden ones and those in its subfolders."""
    return sorted(
        p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def search(
    folder: str | Path,
    *,
    without: Path | None = None,
    follow_links: bool = False,
    suffixes: tuple[str, ...] = SUFFIXES,
) -> tuple[list[Path], Counter[str]]:
    """Image files in a folder and its subfolders by their endings, sorted, and how many others of each kind there are.

    Args:
        folder: Where to look.
        without: A folder that isn't looked at.
        follow_links: Whether links to folders are followed, unless they lead to one that was looked into before.
        suffixes: The endings.

    Returns:
        The images, and numbers of what else is there: "hidden" files and folders, whose names begin with a dot, "linked
        folders" that weren't followed, and files "of other formats".
    """
    images, others, visited = [], Counter[str](), set()  # Links may lead in a circle.
    for place, folders, files in os.walk(folder, followlinks=follow_links):
        visited.add(os.path.realpath(place))
        hidden = [name for name in (*folders, *files) if name.startswith(".")]
        paths = {name: os.path.join(place, name) for name in sorted(folders) if name not in hidden}
        links = [] if follow_links else [name for name, path in paths.items() if os.path.islink(path)]
        folders[:] = [
            name
            for name, path in paths.items()
            if name not in links
            and not (follow_links and os.path.realpath(path) in visited)
            and (without is None or not _is(path, without))
        ]
        seen = [name for name in files if name not in hidden]
        found = [name for name in seen if os.path.splitext(name)[1].lower() in suffixes]
        images += [Path(place, name) for name in found]
        others.update({"hidden": len(hidden), "linked folders": len(links), "of other formats": len(seen) - len(found)})
    return sorted(images), +others


def _is(path: str, other: Path) -> bool:
    return other.exists() and os.path.samefile(path, other)
