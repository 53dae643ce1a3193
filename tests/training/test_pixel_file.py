"""Files of pixels against the arrays that went in."""

from pathlib import Path

import numpy as np

from dasr_fast.training.pixel_file import Entry, PixelFile, write_pixel_file


def images(shapes: list[tuple[int, int] | None]) -> list[tuple[Entry, np.ndarray | None]]:
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
    write_pixel_file(path, images([(3, 4), None]), 1000)
    whole = path.read_bytes()
    assert len(PixelFile(path).entries) == 2
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert PixelFile(path).entries == []
    path.write_bytes(whole[:-1] + b"0")  # Another format.
    assert PixelFile(path).entries == []


def test_a_damaged_index_holds_nothing_that_is_not_there(tmp_path: Path):
    path = tmp_path / "a.pixels"
    written = images([(3, 4), None, (2, 5)])
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
