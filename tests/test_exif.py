"""EXIF in files against Pillow, which reads and writes it independently."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dasr_fast.exif import exif_of_tiff, tiff_with_exif
from dasr_fast.images import read_image, write_image

RGB = np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("source", [".tif", ".jpg", ".png", ".webp"])
def test_exif_goes_from_every_format_to_every_format(source: str, order: str, tmp_path: Path):
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x8298], exif[0x010E] = "A maker of cameras", "Someone", "ab"
    exif[0x8769] = {0x829A: 0.008, 0x9003: "2024:05:06 07:08:09", 0x8827: 400}
    exif[0x8825] = {1: "N", 2: (50.0, 30.0, 15.5)}
    if source == ".tif":
        exif.load(exif.tobytes())  # Pillow's TIFF knows only directories that were read.
    Image.fromarray(RGB).save(tmp_path / f"a{source}", exif=exif)
    before = Image.open(tmp_path / f"a{source}").getexif()
    picture = read_image(tmp_path / f"a{source}")
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write_image(tmp_path / f"b{suffix}", picture)
        written = Image.open(tmp_path / f"b{suffix}")
        after = written.getexif()
        for tag in (0x010F, 0x8298, 0x010E):
            assert after[tag] == before[tag] == exif[tag]
        for directory, tags in ((0x8769, (0x829A, 0x9003, 0x8827)), (0x8825, (1, 2))):
            for tag in tags:
                assert after.get_ifd(directory)[tag] == before.get_ifd(directory)[tag]
        if suffix in (".png", ".tif"):
            np.testing.assert_array_equal(np.asarray(written), picture.pixels)


def test_damaged_exif_is_left_out(tmp_path: Path):
    exif = Image.Exif()
    exif[0x010F] = "A maker of cameras"
    Image.fromarray(RGB).save(tmp_path / "a.tif", exif=exif)
    content = (tmp_path / "a.tif").read_bytes()
    place = content.index(b"\x0f\x01\x02\x00")  # The entry of Make, whose value is put behind the end.
    (tmp_path / "a.tif").write_bytes(content[: place + 8] + b"\xf0\xff\xff\x7f" + content[place + 12 :])
    picture = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.pixels, RGB)
    write_image(tmp_path / "b.tif", picture)
    assert 0x010F not in Image.open(tmp_path / "b.tif").getexif()


def test_big_endian_tiff():
    image = Image.frombytes("I;16B", (11, 9), (np.arange(99) * 600).astype(">u2").tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    assert buffer.getvalue()[:2] == b"MM"
    exif = Image.Exif()
    exif[0x010F], exif[0x8769] = "A maker of cameras", {0x829A: 0.008, 0x8827: 400}
    content = tiff_with_exif(buffer.getvalue(), exif.tobytes())
    written = Image.open(io.BytesIO(content))
    np.testing.assert_array_equal(np.asarray(written), np.asarray(image))
    for found in (written.getexif(), Image.Exif()):
        if not found:
            found.load(exif_of_tiff(content))
        assert found[0x010F] == "A maker of cameras"
        assert found.get_ifd(0x8769) == {0x829A: 0.008, 0x8827: 400}


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\xff\xff\xff\xff", b"not TIFF at all"]
)
def test_what_is_no_whole_tiff_has_none(content: bytes):
    assert exif_of_tiff(content) == b""
    assert tiff_with_exif(content, b"Exif\0\0" + content) == content
