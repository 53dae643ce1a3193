"""Image files and what they tell beside pixels, against Pillow, which writes or reads them independently."""

import io
import os
import signal
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import torch
from full_disk import files_of_at_most
from PIL import Image, ImageCms, PngImagePlugin

from dasr_fast.files import find_images
from dasr_fast.images import ImageError, ImageWarning, Picture, read_image, write_image
from dasr_fast.images.exif import exif_of_tiff, tiff_with_exif

RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (11, 7, 3), dtype=np.uint8)
ALPHA = RANDOM.integers(0, 256, (11, 7), dtype=np.uint8)
DEEP = RANDOM.integers(0, 65536, (11, 7, 3), dtype=np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA"])
def test_reads_what_pillow_writes(mode: str, suffix: str, tmp_path: Path):
    if suffix == ".webp" and mode in ("L", "LA"):
        pytest.skip("WebP is never grey")
    image = Image.fromarray(np.dstack((RGB, ALPHA))).convert(mode)
    image.save(tmp_path / f"a{suffix}", **({"lossless": True, "exact": True} if suffix == ".webp" else {}))
    expected = np.asarray(image).reshape(11, 7, -1)
    picture = read_image(tmp_path / f"a{suffix}")
    colours = 1 if mode[0] == "L" else 3
    np.testing.assert_array_equal(picture.pixels, expected[:, :, :colours])
    assert (picture.alpha is None) == (mode in ("RGB", "L"))
    if picture.alpha is not None:
        np.testing.assert_array_equal(picture.alpha, expected[:, :, -1])


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("channels", [1, 3])
def test_pillow_reads_what_is_written(channels: int, alpha: np.ndarray | None, suffix: str, tmp_path: Path):
    write_image(tmp_path / f"a{suffix}", Picture(RGB[:, :, :channels], alpha))
    image = np.asarray(Image.open(tmp_path / f"a{suffix}")).reshape(11, 7, -1)
    planes = [RGB[:, :, :channels]] if alpha is None else [RGB[:, :, :channels], alpha[:, :, None]]
    np.testing.assert_array_equal(image, np.concatenate(planes, 2))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits(channels: int, suffix: str, tmp_path: Path):
    path = tmp_path / f"a{suffix}"
    write_image(path, Picture(DEEP[:, :, :channels]))
    if channels == 1:
        np.testing.assert_array_equal(np.asarray(Image.open(path)), DEEP[:, :, 0])
    picture = read_image(path)
    np.testing.assert_array_equal(picture.pixels, DEEP[:, :, :channels])
    again = picture.replaced(picture.tensor(), None)
    np.testing.assert_array_equal(again.pixels, picture.pixels)
    assert picture.rgb().max() <= 255
    found = picture.rgb()[0, 0, 3, 4].item()
    assert found == pytest.approx(DEEP[3, 4, 0] / 257, rel=1e-6)


@pytest.mark.parametrize(("suffix", "limit"), [(".jpg", 6), (".webp", 12)])
def test_lossy_formats(suffix: str, limit: float, tmp_path: Path):
    smooth = np.stack([np.add.outer(np.arange(64), np.arange(48)) * 2 for _ in range(3)], -1).astype(np.uint8)
    for picture in (Picture(smooth), Picture(smooth.astype(np.uint16) * 257)):
        write_image(tmp_path / f"a{suffix}", picture)
        read = np.asarray(Image.open(tmp_path / f"a{suffix}").convert("RGB")).astype(int)
        assert np.abs(read - smooth).max() <= limit


def test_palette_bits_and_cmyk_are_converted(tmp_path: Path):
    image = Image.fromarray(RGB)
    palette = image.quantize(16)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png").pixels, np.asarray(palette.convert("RGB")))
    bits = image.convert("1")
    bits.save(tmp_path / "bits.png")
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").pixels[:, :, 0], np.asarray(bits.convert("L")))
    inks = np.zeros((32, 40, 4), np.uint8)  # Five columns: paper, then each ink alone.
    for ink in range(4):
        inks[:, 8 * ink + 8 : 8 * ink + 16, ink] = 255
    Image.fromarray(inks, "CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    paper, *colours, black = read_image(tmp_path / "cmyk.jpg").pixels[16, 4::8].tolist()
    assert min(paper) > 250
    assert max(black) < 60
    assert [ink.index(min(ink)) for ink in colours] == [0, 1, 2]  # What each absorbs.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_metadata_kept(orientation: int, tmp_path: Path):
    from PIL import ImageOps

    image = Image.fromarray(np.kron(RGB, np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "A camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "a.jpg", exif=exif, icc_profile=profile, quality=95, dpi=(300, 300))
    upright = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "a.jpg")))
    picture = read_image(tmp_path / "a.jpg")
    assert picture.pixels.shape == upright.shape
    assert np.abs(picture.pixels.astype(int) - upright).mean() < 1
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        write_image(tmp_path / f"b{suffix}", picture)
        written = Image.open(tmp_path / f"b{suffix}")
        assert (written.getexif().get(0x0112, 1), written.info["icc_profile"]) == (1, profile)
        if suffix != ".webp":
            assert [round(float(dpi)) for dpi in written.info["dpi"]] == [300, 300]
        assert written.getexif()[0x010F] == "A camera"


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_frames_and_pages_that_are_left_out_are_named(suffix: str, tmp_path: Path):
    frames = [Image.fromarray(np.full((9, 8, 3), value, np.uint8)) for value in (10, 90, 200)]
    lossless = {"lossless": True} if suffix == ".webp" else {}
    frames[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=frames[1:], **lossless)
    with pytest.warns(ImageWarning, match=rf"a\{suffix} has 3 frames or pages, and only the first is read"):
        picture = read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(picture.pixels, np.asarray(frames[0]))


def test_a_profile_of_other_colours_is_not_kept(tmp_path: Path):
    profile = pyvips.Image.profile_load("cmyk")
    Image.new("CMYK", (8, 8), (200, 20, 10, 0)).save(tmp_path / "a.tif", icc_profile=profile)
    picture = read_image(tmp_path / "a.tif")
    write_image(tmp_path / "b.png", picture)
    assert "icc_profile" not in Image.open(tmp_path / "b.png").info
    red, green, blue = picture.pixels[0, 0].astype(int)
    assert red < green < blue


def test_grey_takes_the_mean_and_values_are_clamped():
    picture = Picture(RGB[:, :, :1])
    image = torch.tensor([0.0, 30.0, 600.0])[None, :, None, None].expand(1, 3, 2, 2)
    assert picture.replaced(image, None).pixels.tolist() == [[[210], [210]], [[210], [210]]]
    assert Picture(RGB).replaced(image, None).pixels[0, 0].tolist() == [0, 30, 255]


def test_broken_and_missing_files(tmp_path: Path):
    for path in (tmp_path / "truncated.png", tmp_path / "truncated.jpg"):
        Image.fromarray(np.kron(RGB, np.ones((16, 16, 1), np.uint8))).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "text.png").write_text("I am no image.")
    (tmp_path / "empty.tif").touch()
    Image.fromarray(RANDOM.random((8, 8), dtype=np.float32)).save(tmp_path / "float.tif")
    scrgb = pyvips.Image.new_from_array(RANDOM.random((8, 8, 3), dtype=np.float32)).copy(interpretation="scrgb")
    scrgb.write_to_file(str(tmp_path / "scrgb.tif"))
    for names, message in (
        ("truncated.png truncated.jpg", "is not a whole image"),
        ("text.png empty.tif", "is not a PNG, JPEG, WebP or TIFF image; no other format is read"),
        ("scrgb.tif float.tif", "has pixels of type float; only 8 and 16-bit integers are supported"),
    ):
        for name in names.split():
            with pytest.raises(ImageError, match=message) as caught:
                read_image(tmp_path / name)
            assert str(tmp_path / name) in str(caught.value)
            assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match=r"There is no file .*nowhere\.png"):
        read_image(tmp_path / "nowhere.png")


@pytest.mark.parametrize(
    ("name", "picture", "kind", "message"),
    [
        ("a.jpg", Picture(RGB, ALPHA), ImageError, "JPEG can't hold transparency"),
        ("a.bmp", Picture(RGB), ImageError, "images are written as .png"),
        ("no/a.png", Picture(RGB), FileNotFoundError, "There is no folder"),
        ("a.webp", Picture(np.zeros((2, 17000, 3), np.uint8)), ImageError, "a.webp could not be written"),
    ],
)
def test_what_cannot_be_written(name: str, picture: Picture, kind: type[Exception], message: str, tmp_path: Path):
    if "/" not in name:
        (tmp_path / name).write_text("old")
    with pytest.raises(kind, match=message):
        write_image(tmp_path / name, picture)
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == ([(name, "old")] if "/" not in name else [])


SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


@pytest.mark.parametrize("kind", ["svg", "v", "bmp", "gif", "ppm", "avif"])
def test_other_formats_are_not_read_under_the_name_of_a_documented_one(kind: str, tmp_path: Path):
    image = pyvips.Image.new_from_array(RGB)
    if kind == "svg":
        content = SVG
    elif kind == "v":
        image.write_to_file(str(tmp_path / "a.v"))
        content = (tmp_path / "a.v").read_bytes()
    else:
        buffer = io.BytesIO()
        Image.fromarray(RGB).save(buffer, kind)
        content = buffer.getvalue()
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a.png is not a PNG, JPEG, WebP or TIFF image; no other format is read\."):
        read_image(tmp_path / "a.png")


def test_the_content_decides_not_the_name(tmp_path: Path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg").pixels, RGB)


def test_images_larger_than_the_memory_are_not_decoded(tmp_path: Path):
    write_image(tmp_path / "a.png", Picture(RGB[:, :, :1]))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">LL", 2_000_000, 2_000_000)
    content[29:33] = struct.pack(">L", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a.png has 2000000x2000000 pixels, and 8000.0 GB of memory are needed; "):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.jpg", {"interlace": True}),
        ("b.png", {"interlace": True}),
        ("a.tif", {}),
        ("b.tif", {"tile": True, "tile_width": 16, "tile_height": 16}),
    ],
)
def test_processes_that_were_forked_can_read(name: str, options: dict[str, bool | int], tmp_path: Path):
    large = RGB.repeat(9, 0).repeat(9, 1)
    pyvips.Image.new_from_array(large).copy(interpretation="srgb").write_to_file(str(tmp_path / name), **options)
    expected = np.asarray(Image.open(tmp_path / name))
    before = read_image(tmp_path / name).pixels
    np.testing.assert_allclose(before.astype(int), expected, atol=4 if name == "a.jpg" else 0)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        same = np.array_equal(read_image(tmp_path / name).pixels, before)
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("call", ["read_image", "write_image"])
def test_a_forked_process_says_what_it_cannot_do(call: str, tmp_path: Path):
    write_image(tmp_path / "a.webp", Picture(RGB))
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            read_image(tmp_path / "a.webp") if call == "read_image" else write_image(tmp_path / "b.png", Picture(RGB))
        except RuntimeError as error:
            os._exit(0 if str(error).startswith(call) and "the method spawn" in str(error) else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((RGB.tolist(),), TypeError, "pixels must be a NumPy array; got list"),
        ((None,), TypeError, "pixels must be a NumPy array; got NoneType"),
        ((RGB.astype(np.float32),), TypeError, "pixels must be uint8 or uint16; got float32"),
        ((RGB[:, :, 0],), ValueError, r"pixels must be \[H, W, C\] with C 1 or 3; got \[11, 7\]"),
        ((RGB[:0],), ValueError, r"pixels must be \[H, W, C\] with C 1 or 3; got \[0, 7, 3\]"),
        ((RGB, ALPHA.astype(np.uint16)), TypeError, "alpha must be uint8 as pixels are; got uint16"),
        ((RGB, ALPHA[:5]), ValueError, r"alpha must be \[H, W\] = \[11, 7\]; got \[5, 7\]"),
        ((RGB, 3), TypeError, "alpha must be a NumPy array; got int"),
    ],
)
def test_pictures_that_cannot_be(arguments: tuple[Any, ...], kind: type[Exception], message: str, tmp_path: Path):
    with pytest.raises(kind, match=f"Picture: {message}"):
        Picture(*arguments)
    with pytest.raises(TypeError, match=r"a.png: what is written must be a Picture; got"):
        write_image(tmp_path / "a.png", arguments[0])
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path):
    large = Picture(RANDOM.integers(0, 256, (90, 90, 3), dtype=np.uint8))
    for suffix in (".png", ".jpg", ".webp", ".tif"):
        path = tmp_path / f"a{suffix}"
        with files_of_at_most(4096), pytest.raises(OSError, match=rf"{path} can't be written: File too large\.$"):
            write_image(path, large)
    assert list(tmp_path.iterdir()) == []


def test_find_images(tmp_path: Path):
    for name in ("b.PNG", "a.jpeg", "c.txt", "._a.jpeg"):
        (tmp_path / name).touch()
    (tmp_path / "d.png").mkdir()
    assert [p.name for p in find_images(tmp_path)] == ["a.jpeg", "b.PNG"]


@pytest.mark.parametrize("name", [f"{'n' * 251}.png", os.fsdecode(b"caf\xe9.png")], ids=["long", "no UTF-8"])
def test_odd_names(name: str, tmp_path: Path):
    path = tmp_path / name
    write_image(path, Picture(RGB))
    np.testing.assert_array_equal(read_image(path).pixels, RGB)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_file_that_was_written_anew_is_read_anew(suffix: str, tmp_path: Path):
    for value in (10, 200):
        write_image(tmp_path / f"a{suffix}", Picture(np.full((8, 9, 3), value, np.uint8)))
        assert abs(int(read_image(tmp_path / f"a{suffix}").pixels.mean()) - value) <= 2


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
    assert (written.info["comment"], np.asarray(written).shape) == ("caf\u00e9".encode(), RGB.shape)
    with pytest.warns(ImageWarning, match=r"b.tif can't hold the comments"):
        write_image(tmp_path / "b.tif", picture)


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
        assert (found[0x010F], found.get_ifd(0x8769)) == ("A maker of cameras", {0x829A: 0.008, 0x8827: 400})


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\xff\xff\xff\xff", b"not TIFF at all"]
)
def test_what_is_no_whole_tiff_has_none(content: bytes):
    assert (exif_of_tiff(content), tiff_with_exif(content, b"Exif\0\0" + content)) == (b"", content)
