"""Animations and pages, against Pillow, which composes and writes them independently."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageSequence

from dasr_fast.images import Frames, ImageError, ImageWarning, Picture, read_frames, read_image, write_frames

TIMES = [50, 120, 30, 70]
LOSSLESS = {"lossless": True, "exact": True}


def drawn(mode: str = "RGBA") -> list[Image.Image]:
    """Frames of few colours, of which a part changes, with a hole that moves."""
    frames = []
    for number in range(4):
        pixels = np.zeros((20, 30, 4), np.uint8)
        pixels[...] = 40, 90, 160, 255
        pixels[3 * number : 3 * number + 6, 5:15, :3] = 250 - 40 * number, 30, 20
        pixels[:4, 2 * number : 2 * number + 4, 3] = 0
        frames.append(Image.fromarray(pixels).convert(mode))
    return frames


def save(path: Path, frames: list[Image.Image], **options: Any) -> Path:
    frames[0].save(path, save_all=True, append_images=frames[1:], **options)
    return path


def shown(path: Path) -> list[np.ndarray]:
    """The frames as Pillow composes them, with what nobody sees emptied."""
    with Image.open(path) as image:
        frames = [np.array(frame.convert("RGBA")) for frame in ImageSequence.Iterator(image)]
    return [np.where(frame[..., 3:] > 0, frame, 0) for frame in frames]


def pixels(picture: Picture) -> np.ndarray:
    alpha = picture.alpha if picture.alpha is not None else np.full(picture.pixels.shape[:2], 255, np.uint8)
    image = np.dstack((np.broadcast_to(picture.pixels, (*alpha.shape, 3)), alpha))
    return np.where(alpha[..., None] > 0, image, 0)


@pytest.mark.parametrize("mode", ["RGBA", "RGB", "L", "P", "LA"])
@pytest.mark.parametrize("disposal", [0, 1, 2])
@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_frames_are_read_as_pillow_composes_them(suffix: str, disposal: int, mode: str, tmp_path: Path):
    if suffix == ".png" and disposal and mode in ("RGB", "L"):
        pytest.skip("Pillow fails, or leaves black where a place becomes transparent")
    options: dict[str, Any] = {".gif": {"disposal": disposal}, ".webp": LOSSLESS, ".png": {"disposal": disposal}}[
        suffix
    ]
    path = save(tmp_path / f"a{suffix}", drawn(mode), duration=TIMES, loop=3, **options)
    frames, right = read_frames(path), shown(path)
    assert len(frames.pictures) == len(right) == 4
    for picture, expected in zip(frames.pictures, right, strict=True):
        np.testing.assert_array_equal(pixels(picture), expected)
    assert frames.delays == tuple(TIMES)
    assert frames.plays == (4 if suffix == ".gif" else 3)  # GIF counts the repetitions.


@pytest.mark.parametrize("blend", [0, 1])
@pytest.mark.parametrize("default", [False, True])
def test_animated_png_with_shades_of_transparency(default: bool, blend: int, tmp_path: Path):
    """Against FFmpeg: Pillow doesn't lay shades over each other."""
    av = pytest.importorskip("av")
    random = np.random.default_rng(0)
    frames = [Image.fromarray(random.integers(0, 256, (9, 8, 4), dtype=np.uint8)) for _ in range(3)]
    path = save(tmp_path / "a.png", frames, duration=40, blend=blend, default_image=default)
    with av.open(str(path)) as container:
        right = [frame.reformat(format="rgba").to_ndarray() for frame in container.decode(video=0)]
    for picture, expected in zip(read_frames(path).pictures, right, strict=True):
        seen = expected[..., 3] > 64  # The colours of what can hardly be seen are rounded coarsely.
        np.testing.assert_allclose(pixels(picture)[seen].astype(int), expected[seen], atol=4)
        np.testing.assert_allclose(picture.alpha.astype(int), expected[..., 3], atol=2)


@pytest.mark.parametrize("alpha", [False, True])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_pillow_sees_what_is_written(channels: int, depth: Any, alpha: bool, tmp_path: Path):
    random = np.random.default_rng(0)
    white = int(np.iinfo(depth).max)
    pictures = tuple(
        Picture(
            random.integers(0, white, (9, 8, channels), dtype=depth),
            (random.integers(0, 2, (9, 8)) * white).astype(depth) if alpha else None,
            lossless=True,
        )
        for _ in range(3)
    )
    written = Frames(pictures, (100 / 3, 40.0, 70000.0), 5)
    for name in ("a.png", "a.webp"):
        write_frames(tmp_path / name, written)
    for expected, found in zip(pictures, read_frames(tmp_path / "a.png").pictures, strict=True):
        np.testing.assert_array_equal(found.pixels, expected.pixels)
    if depth == np.uint8:
        for name in ("a.png", "a.webp"):
            for expected, found in zip(pictures, shown(tmp_path / name), strict=True):
                np.testing.assert_array_equal(found, pixels(expected))
    assert read_frames(tmp_path / "a.png").delays == pytest.approx((100 / 3, 40, 70000))
    assert read_frames(tmp_path / "a.webp").delays == (33, 40, 70000)
    assert [read_frames(tmp_path / name).plays for name in ("a.png", "a.webp")] == [5, 5]


def test_gif_has_few_colours_and_times_of_hundredths(tmp_path: Path):
    read = read_frames(save(tmp_path / "a.webp", drawn(), duration=[33] * 4, loop=0, **LOSSLESS))
    write_frames(tmp_path / "a.gif", read)
    for picture, found in zip(read.pictures, shown(tmp_path / "a.gif"), strict=True):
        np.testing.assert_allclose(found.astype(int), pixels(picture), atol=8)  # GIF stores colours of its own choice.
    again = read_frames(tmp_path / "a.gif")
    assert (again.delays, again.plays) == ((30, 40, 30, 30), 0)  # 132 ms in all, to the nearest.


def test_pages(tmp_path: Path):
    path = save(tmp_path / "a.tif", drawn("RGB"), software="A program")
    read = read_frames(path)
    assert read.delays == ()
    write_frames(tmp_path / "b.tif", read)
    assert len(read_frames(tmp_path / "b.tif").pictures) == 4
    for expected, found in zip(shown(path), shown(tmp_path / "b.tif"), strict=True):
        np.testing.assert_array_equal(found, expected)
    with Image.open(tmp_path / "b.tif") as image:
        assert image.tag_v2[305] == "A program"
    save(tmp_path / "c.tif", [drawn()[0], drawn()[1].resize((9, 8))])
    with pytest.warns(ImageWarning, match="has 2 frames or pages, and only the first is read"):
        assert len(read_frames(tmp_path / "c.tif").pictures) == 1


def test_what_a_format_cannot_hold(tmp_path: Path):
    animation = read_frames(save(tmp_path / "a.png", drawn("RGB"), duration=40))
    pages = read_frames(save(tmp_path / "a.tif", drawn("RGB")))
    for name, frames, message in (
        ("b.jpg", animation, r"^b\.jpg: JPEG can't hold an animation of 4 frames; choose \.webp, \.png or \.gif\.$"),
        ("b.tif", animation, r"TIFF can't hold an animation of 4 frames"),
        ("b.webp", pages, r"^b\.webp: WebP can't hold the 4 pages; choose \.tif\.$"),
    ):
        with pytest.raises(ImageError, match=message):
            write_frames(tmp_path / name, frames)
        assert not (tmp_path / name).exists()
    with pytest.raises(ImageError, match=r"is not a PNG, JPEG, WebP or TIFF image"):
        read_image(save(tmp_path / "a.gif", drawn()))
    described = Image.Exif()
    described[0x010F] = "A camera"
    drawn("RGB")[0].save(tmp_path / "c.png", exif=described)
    with pytest.warns(ImageWarning, match="c.gif can't hold the EXIF data of the image"):
        write_frames(tmp_path / "c.gif", read_frames(tmp_path / "c.png"))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_what_is_cut_off_is_not_whole(suffix: str, tmp_path: Path):
    frames = [Image.fromarray(np.random.default_rng(n).integers(0, 256, (40, 40, 3), dtype=np.uint8)) for n in range(3)]
    content = save(tmp_path / f"a{suffix}", frames, duration=40).read_bytes()
    assert len(read_frames(tmp_path / f"a{suffix}").pictures) == 3
    for kept in (len(content) - 30, len(content) // 2, 40):
        (tmp_path / f"b{suffix}").write_bytes(content[:kept])
        with pytest.raises(ImageError, match=rf"b\{suffix} is not a whole image: "):
            read_frames(tmp_path / f"b{suffix}")
    if suffix == ".png":
        place = content.index(b"fdAT", len(content) // 2) + 20
        (tmp_path / "c.png").write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ImageError, match=r"c\.png is not a whole image: a checksum differs\."):
            read_frames(tmp_path / "c.png")
