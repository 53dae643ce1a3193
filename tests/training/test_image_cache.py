"""Folders of training images against Pillow, with files of all kinds among them."""

import fcntl
import itertools
import os
import shutil
import signal
import sys
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dasr_fast.images import ImageError, Picture, read_image, write_image
from dasr_fast.training import image_cache as module
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.patches import Patches
from dasr_fast.training.pixel_file import Entry, PixelFile, write_pixel_file

RANDOM = np.random.default_rng(0)


def random_image(height: int = 32, width: int = 40) -> np.ndarray:
    return RANDOM.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three images, one of them in a subfolder."""
    for name in ("b.png", "a.png", "more/c.PNG"):
        save(tmp_path / "photos" / name, random_image())
    return tmp_path / "photos"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded, in any order."""
    names: list[str] = []

    def read(path: Path) -> Picture:
        names.append(path.name)
        return read_image(path)

    monkeypatch.setattr(module, "read_image", read)
    return names


def check(cache: ImageCache, folder: Path) -> None:
    assert len(cache) == len(cache.names) > 0
    for i, name in enumerate(cache.names):
        image = cache[i]
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.asarray(Image.open(folder / name)))


def pixel_file(cache: Path) -> Path:
    (path,) = cache.glob("*/images.pixels")
    return path


def test_subfolders_links_and_order(folder: Path, tmp_path: Path):
    save(tmp_path / "elsewhere/d.png", random_image())
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    (folder / "more/circle").symlink_to(folder)
    (folder / "notes.txt").write_text("No image.")
    save(folder / ".hidden.png", random_image())
    save(folder / ".thumbnails/a.png", random_image())
    (folder / "folder.png").mkdir()
    no_utf_8 = os.fsdecode(b"caf\xe9.png")
    save(folder / no_utf_8, random_image())
    for _ in range(2):  # Decoded, then from the cache.
        cache = ImageCache.open(folder, tmp_path / "cache", smallest=8)
        assert cache.names == ["a.png", "b.png", no_utf_8, "linked/d.png", "more/c.PNG"]
        assert (cache.skipped, cache.streamed) == ({}, False)
        check(cache, folder)
    assert not cache[0].flags.writeable
    with pytest.raises(IndexError):
        cache[5]


def test_images_of_all_kinds_become_8_bit_rgb(tmp_path: Path):
    folder, rgb = tmp_path / "photos", random_image()
    grey = np.asarray(Image.fromarray(rgb).convert("L"))
    deep = RANDOM.integers(0, 65536, (32, 40, 3), dtype=np.uint16)
    deep[0, 0], deep[0, 1] = 0, 65535
    for name, pixels in (("alpha.png", np.dstack((rgb, grey))), ("deep_grey.tif", deep[:, :, 0]), ("grey.png", grey)):
        save(folder / name, pixels)
    write_image(folder / "deep.png", Picture(deep))
    Image.fromarray(rgb).save(folder / "rgb.webp", lossless=True)
    deep = np.round(deep / 257).astype(np.uint8)
    expected = {"alpha.png": rgb, "deep.png": deep, "deep_grey.tif": deep[:, :, :1], "grey.png": grey[:, :, None]}
    expected["rgb.webp"] = rgb
    cache = ImageCache.open(folder, tmp_path / "cache", smallest=32)
    assert (cache.names, cache.skipped) == (list(expected), {})
    for image, pixels in zip(cache, expected.values(), strict=True):
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.broadcast_to(pixels, (32, 40, 3)))


@pytest.mark.parametrize("limit_bytes", [None, 0])
def test_files_that_cannot_be_used_are_left_out_and_said(folder: Path, tmp_path: Path, limit_bytes: int | None):
    save(folder / "truncated.jpg", random_image(64, 64))
    os.truncate(folder / "truncated.jpg", (folder / "truncated.jpg").stat().st_size // 2)
    (folder / "text.png").write_text("I am no image.")
    os.mkfifo(folder / "pipe.png")
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    messages = {"truncated.jpg": "is not a whole image", "text.png": "is not a PNG, JPEG, WebP or TIFF image; no other"}
    messages |= {"gone.png": "can't be read", "pipe.png": "can't be read"}
    for name, height, width in (("small", 20, 20), ("flat", 31, 500), ("narrow", 500, 31)):
        save(folder / f"{name}.png", random_image(height, width))
        messages[f"{name}.png"] = f"has {width}x{height} pixels; at least 32x32 are needed"
    for _ in range(2):  # Decoded, then from the cache.
        cache = ImageCache.open(folder, tmp_path / "cache", smallest=32, limit_bytes=limit_bytes)
        assert cache.names == ["a.png", "b.png", "more/c.PNG"]
        assert list(cache.skipped) == sorted(folder / name for name in messages)
        for name, message in messages.items():
            sentence = cache.skipped[folder / name]
            assert message in sentence
            assert str(folder / name) in sentence
            assert sentence.endswith(".")
            assert "\n" not in sentence
    assert Patches(cache, size=32, batch=5, seed=0)(0).shape == (5, 2, 3, 32, 32)
    smaller = ImageCache.open(folder, tmp_path / "cache", smallest=20, limit_bytes=limit_bytes)
    assert smaller.names == ["a.png", "b.png", "flat.png", "more/c.PNG", "narrow.png", "small.png"]
    check(smaller, folder)


def test_decoded_once_and_then_not_even_written(folder: Path, tmp_path: Path, decoded: list[str]):
    first = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    assert sorted(decoded) == ["a.png", "b.png", "c.PNG"]
    decoded.clear()
    path = pixel_file(tmp_path / "cache")
    (path.parent / "lock").unlink()
    again = ImageCache.open(str(folder), str(tmp_path / "cache"), smallest=16)
    assert decoded == []
    check(again, folder)
    assert again.names == first.names
    (tmp_path / "link").symlink_to(folder)
    check(ImageCache.open(tmp_path / "link", tmp_path / "cache", smallest=16), folder)
    assert decoded == []
    assert not (path.parent / "lock").exists()
    path.write_bytes(path.read_bytes()[:-100])  # A damaged one is made again.
    check(ImageCache.open(folder, tmp_path / "cache", smallest=8), folder)
    assert len(decoded) == 3


def test_only_what_changed_is_decoded_again(folder: Path, tmp_path: Path, decoded: list[str]):
    before = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    kept = before[1].copy()
    decoded.clear()
    save(folder / "a.png", random_image(50, 60))
    save(folder / "b.png", random_image())
    os.utime(folder / "b.png", (1, 1))  # The time alone may tell.
    save(folder / "aa.png", random_image(9, 9))
    (folder / "text.png").write_text("I am no image.")
    cache = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    assert sorted(decoded) == ["a.png", "aa.png", "b.png", "text.png"]
    assert cache.names == ["a.png", "aa.png", "b.png", "more/c.PNG"]
    assert list(cache.skipped) == [folder / "text.png"]
    check(cache, folder)
    np.testing.assert_array_equal(before[1], kept)  # Who uses the old file isn't disturbed.
    decoded.clear()
    (folder / "b.png").unlink()
    save(folder / "text.png", random_image())
    cache = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    assert (decoded, cache.names) == (["text.png"], ["a.png", "aa.png", "more/c.PNG", "text.png"])
    check(cache, folder)


def test_streamed_above_the_limit(folder: Path, tmp_path: Path, decoded: list[str]):
    total = 3 * 32 * 40 * 3
    streamed = ImageCache.open(folder, tmp_path / "cache", smallest=8, limit_bytes=total - 1)
    assert streamed.streamed
    assert sorted(decoded) == ["a.png", "b.png", "c.PNG"]
    assert pixel_file(tmp_path / "cache").stat().st_size < 1000
    decoded.clear()
    streamed = ImageCache.open(folder, tmp_path / "cache", smallest=8, limit_bytes=total - 1)
    assert decoded == []
    check(streamed, folder)
    assert decoded == ["a.png", "b.png", "c.PNG"]
    assert not streamed[0].flags.writeable
    save(folder / "d.png", random_image())
    decoded.clear()
    assert ImageCache.open(folder, tmp_path / "cache", smallest=8, limit_bytes=total - 1).streamed
    assert decoded == ["d.png"]
    (folder / "d.png").unlink()
    stored = ImageCache.open(folder, tmp_path / "cache", smallest=8, limit_bytes=total)
    assert not stored.streamed
    decoded.clear()
    check(stored, folder)
    for step in range(3):
        batches = [Patches(cache, size=8, batch=4, seed=1)(step) for cache in (streamed, stored)]
        assert batches[0].equal(batches[1])
    decoded.clear()
    assert not ImageCache.open(folder, tmp_path / "cache", smallest=8).streamed
    streamed = ImageCache.open(folder, tmp_path / "cache", smallest=8, limit_bytes=0)
    assert streamed.streamed
    assert decoded == []
    save(folder / "a.png", random_image(8, 8))
    with pytest.raises(ImageError, match=r"a\.png was changed while it was in use\."):
        streamed[0]


def test_streamed_where_the_disk_is_full(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    cache = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    assert cache.streamed
    check(cache, folder)
    monkeypatch.undo()
    cache = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    assert not cache.streamed
    check(cache, folder)


def test_killed_while_it_decodes_leaves_nothing_half(folder: Path, tmp_path: Path):
    for i in range(40):
        save(folder / f"many/{i}.png", random_image())
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        counted = itertools.count(1)

        def killed(path: Path) -> Picture:
            if next(counted) == 40:
                os.kill(os.getpid(), signal.SIGKILL)
            return read_image(path)

        module.read_image = killed
        ImageCache.open(folder, tmp_path / "cache", smallest=8)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    (inside,) = (tmp_path / "cache").iterdir()
    assert [path.name for path in inside.iterdir() if not path.name.startswith(".")] == ["lock"]
    assert len(list(inside.glob(".*.pixels"))) == 1  # What was written so far, under another name.
    cache = ImageCache.open(folder, tmp_path / "cache", smallest=8)
    assert len(cache) == 43
    check(cache, folder)
    assert sorted(path.name for path in inside.iterdir()) == ["images.pixels", "lock"]


def test_an_error_of_the_disk(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    ImageCache.open(folder, tmp_path / "cache", smallest=8)
    before = pixel_file(tmp_path / "cache").read_bytes()
    save(folder / "z.png", random_image())

    def failing(path: Path) -> Picture:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(module, "read_image", failing)
    with pytest.raises(OSError, match="Input/output error"):
        ImageCache.open(folder, tmp_path / "cache", smallest=8)
    path = pixel_file(tmp_path / "cache")
    assert path.read_bytes() == before
    assert sorted(p.name for p in path.parent.iterdir()) == ["images.pixels", "lock"]


def test_one_process_decodes_and_others_wait(folder: Path, tmp_path: Path, decoded: list[str]):
    ImageCache.open(folder, tmp_path / "cache", smallest=8)
    made = pixel_file(tmp_path / "cache")
    made.rename(tmp_path / "made")
    number = (tmp_path / "made").stat().st_ino
    decoded.clear()
    opened: list[ImageCache] = []
    wait = partial(ImageCache.open, folder, tmp_path / "cache", smallest=8)
    waiting = threading.Thread(target=lambda: opened.append(wait()), daemon=True)
    with (made.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting.start()
        waiting.join(0.3)
        assert opened == []
        (tmp_path / "made").rename(made)
    waiting.join(10)
    check(opened[0], folder)
    assert decoded == []
    assert made.stat().st_ino == number  # Nor written.


def test_default_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    check(ImageCache.open(folder, smallest=8), folder)
    assert pixel_file(tmp_path / "xdg/dasr-fast/images").parent.name.startswith("photos-")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    check(ImageCache.open(folder, smallest=8), folder)
    assert pixel_file(tmp_path / "home/.cache/dasr-fast/images").is_file()


def test_folders_of_the_same_name_are_kept_apart(folder: Path, tmp_path: Path):
    other = tmp_path / "other/photos"
    save(other / "a.png", random_image())
    for _ in range(2):
        check(ImageCache.open(folder, tmp_path / "cache", smallest=8), folder)
        check(ImageCache.open(other, tmp_path / "cache", smallest=8), other)
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_bar_where_someone_sees_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    ImageCache.open(folder, tmp_path / "unseen", smallest=8)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    ImageCache.open(folder, tmp_path / "seen", smallest=8)
    out, err = capsys.readouterr()
    assert out == ""
    assert "Decoding images" in err
    ImageCache.open(folder, tmp_path / "seen", smallest=8)
    assert capsys.readouterr() == ("", "")


def test_wrong_arguments(folder: Path, tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere of images\."):
        ImageCache.open(tmp_path / "nowhere", tmp_path / "cache", smallest=8)
    with pytest.raises(ValueError, match=r"smallest must be .* got 0\."):
        ImageCache.open(folder, tmp_path / "cache", smallest=0)
    with pytest.raises(ValueError, match=r"limit_bytes must be .* got -1\."):
        ImageCache.open(folder, tmp_path / "cache", smallest=8, limit_bytes=-1)
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"for decoded images can't be written \(Not a directory\); name another"):
        ImageCache.open(folder, tmp_path / "file/cache", smallest=8)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"empty holds no image \(\.png, .*\) that can be used\.$"):
        ImageCache.open(empty, tmp_path / "cache", smallest=32)
    save(empty / "small.png", random_image(20, 20))
    (empty / "text.png").write_text("I am no image.")
    message = r"that can be used; the first of 2: .*small\.png has 20x20 pixels; at least 32x32 are needed\.$"
    with pytest.raises(ValueError, match=message):
        ImageCache.open(empty, tmp_path / "cache", smallest=32)


def written_images(shapes: list[tuple[int, int] | None]) -> list[tuple[Entry, np.ndarray | None]]:
    random = np.random.default_rng(0)
    return [
        (Entry(f"{i}.png", 10 + i, i, problem="It is broken."), None)
        if shape is None
        else (Entry(f"{i}.png", 10 + i, i, *shape), random.integers(0, 256, (3, *shape), dtype=np.uint8))
        for i, shape in enumerate(shapes)
    ]


def test_only_whole_files_hold_entries(tmp_path: Path):
    path = tmp_path / "a.pixels"
    assert PixelFile(path).entries == []
    write_pixel_file(path, written_images([(3, 4), None]), 1000)
    whole = path.read_bytes()
    assert len(PixelFile(path).entries) == 2
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert PixelFile(path).entries == []
    path.write_bytes(whole[:-1] + b"0")  # Another format.
    assert PixelFile(path).entries == []


def test_a_damaged_index_holds_nothing_that_is_not_there(tmp_path: Path):
    path = tmp_path / "a.pixels"
    written = written_images([(3, 4), None, (2, 5)])
    write_pixel_file(path, written, 1000)
    whole = path.read_bytes()
    known = {(entry.name, entry.bytes, entry.modified): pixels for entry, pixels in written}
    for place in range(66, len(whole)):
        for bit in (1, 4, 64):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :])
            file = PixelFile(path)
            for entry in file.entries:
                pixels = known.get((entry.name, entry.bytes, entry.modified))
                if pixels is not None and entry.offset is not None:
                    np.testing.assert_array_equal(file.pixels(entry), pixels)
