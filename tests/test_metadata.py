"""Text and comments in files against Pillow, which reads and writes them independently."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from dasr_fast.images import ImageWarning, read_image, write_image

RGB = np.random.default_rng(0).integers(0, 256, (11, 7, 3), dtype=np.uint8)


def test_text_of_png_is_kept(tmp_path: Path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "A title")
    text.add_itxt("Author", "Zo\u00eb", "en", "Author")
    text.add_text("Description", "long " * 200, zip=True)
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=text)
    picture = read_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png", picture)
    assert Image.open(tmp_path / "b.png").text == Image.open(tmp_path / "a.png").text
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "b.png")), RGB)
    with pytest.warns(ImageWarning, match=r"b.webp can't hold the text of the image it was made from\.$"):
        write_image(tmp_path / "b.webp", picture)


def test_comments_of_jpeg_are_kept(tmp_path: Path):
    Image.fromarray(RGB).save(tmp_path / "a.jpg", comment="caf\u00e9".encode(), progressive=True)
    picture = read_image(tmp_path / "a.jpg")
    write_image(tmp_path / "b.jpg", picture)
    written = Image.open(tmp_path / "b.jpg")
    assert written.info["comment"] == "caf\u00e9".encode()
    assert np.asarray(written).shape == RGB.shape
    with pytest.warns(ImageWarning, match=r"b.tif can't hold the comments"):
        write_image(tmp_path / "b.tif", picture)
