import copy
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dasr_fast.cli import run
from dasr_fast.images import Picture
from dasr_fast.inference import Engine
from dasr_fast.inference.pictures import PictureWarning, upscale, upscale_frames
from dasr_fast.integrations.video import Video, VideoError
from dasr_fast.models import BlindSR
from dasr_fast.models.checkpoint import save_weights

av = pytest.importorskip("av")

TICKS = [0, 2, 3, 7, 9, 10]
"""Times of the frames in 25ths of a second: not all alike."""


@pytest.fixture(scope="module")
def network() -> BlindSR:
    torch.manual_seed(0)
    return BlindSR(2, groups=1, blocks=1).eval()


@pytest.fixture
def engine(network: BlindSR) -> Engine:
    return Engine(network, "fp32")


@pytest.fixture
def clip(tmp_path: Path) -> Callable[..., Path]:
    """Makes a clip of six smooth frames, with a cut before the fourth, and of sound."""

    def make(
        name: str = "clip.mp4", pixels: str = "yuv444p", size: tuple[int, int] = (48, 36), rotation: int = 0
    ) -> Path:
        width, height = size
        with av.open(str(tmp_path / name), "w") as output:
            output.metadata["title"] = "Waves"
            codec = "libvpx-vp9" if name.endswith("webm") else "libx264"
            video = output.add_stream(codec, rate=25, options={"crf": "0", "lossless": "1"})
            video.width, video.height, video.pix_fmt = width, height, pixels
            video.codec_context.color_range, video.codec_context.colorspace = 1, 1
            if rotation:
                video.set_display_rotation(rotation)
            sound = output.add_stream("aac", rate=44100) if name.endswith(("mp4", "mkv")) else None
            for number, tick in enumerate(TICKS):
                y, x = np.mgrid[:height, :width]
                planes = np.stack([40 + 2 * x + number, 200 - 3 * y, 90 + x + y + 60 * (number > 2)], -1)
                frame = av.VideoFrame.from_ndarray(planes.clip(0, 255).astype(np.uint8), "rgb24")
                frame = frame.reformat(format=pixels, dst_colorspace=1, dst_color_range=1, src_color_range=2)
                frame.pts, frame.time_base = tick, Fraction(1, 25)
                output.mux(video.encode(frame))
                if sound is not None:
                    wave = np.sin(np.arange(1024) / 9 + number).astype(np.float32)
                    heard = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
                    heard.sample_rate = 44100
                    output.mux(sound.encode(heard))
            for stream in filter(None, (video, sound)):
                output.mux(stream.encode(None))
        return tmp_path / name

    return make


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [
            frame.reformat(format="rgb24", src_colorspace=1, src_color_range=1, dst_color_range=2).to_ndarray()
            for frame in container.decode(video=0)
        ]


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0)]


def test_frames_are_those_of_pictures_and_all_else_is_kept(clip: Any, engine: Engine, tmp_path: Path):
    source, target = clip(rotation=90), tmp_path / "large.mp4"
    video = Video(source, target, engine, representation="each", quality=0)
    assert (video.frames, list(video.upscaled()), video.left_out) == (6, [1, 2, 3, 4, 5, 6], [])
    for small, large in zip(frames(source), frames(target), strict=True):
        right = upscale(engine, Picture(small)).pixels.astype(float)
        assert np.abs(large - right).max() <= 4  # YUV of 8 bits.
        assert np.abs(large - right).mean() < 0.8
    assert packets(target) == packets(source)
    with av.open(str(target)) as container:
        assert container.metadata["title"] == "Waves"
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.width, context.height, context.format.name) == (96, 72, "yuv444p")
        assert (context.color_range, context.colorspace) == (1, 1)
        decoded = list(container.decode(stream))
    assert [float(frame.time) for frame in decoded] == [tick / 25 for tick in TICKS]
    assert {frame.rotation for frame in decoded} == {90}


@pytest.mark.parametrize(("representation", "count"), [("each", 6), ("first", 1), ("shot", 2)])
def test_what_is_encoded(
    clip: Any, engine: Engine, representation: Any, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    encoded: list[Any] = []
    encode = engine.encode
    monkeypatch.setattr(engine, "encode", lambda *given, **options: encoded.append(1) or encode(*given, **options))
    assert list(Video(clip(), tmp_path / "large.mp4", engine, representation=representation).upscaled())[-1] == 6
    assert len(encoded) == count


def test_more_than_8_bits_and_odd_sizes(clip: Any, network: BlindSR, engine: Engine, tmp_path: Path):
    deep = tmp_path / "deep.mkv"
    assert list(Video(clip("ten.mkv", "yuv420p10le"), deep, engine, quality=0).upscaled())[-1] == 6
    with av.open(str(deep)) as container:
        assert container.streams.video[0].codec_context.format.name == "yuv420p10le"
    odd = tmp_path / "odd.mp4"
    thrice = Engine(BlindSR(3, groups=1, blocks=1).eval(), "fp32")
    list(Video(clip("odd.mkv", "yuv444p", (33, 27)), odd, thrice).upscaled())
    assert frames(odd)[0].shape == (81, 99, 3)


def test_chapters_a_cover_and_pixels_that_are_not_square(clip: Any, engine: Engine, tmp_path: Path):
    """MP4 keeps chapters in a stream of data; the cover is a video of one picture, here the first stream."""
    source = tmp_path / "film.mp4"
    with av.open(str(clip())) as given, av.open(str(source), "w") as output:
        cover = output.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 40, 40, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = output.add_stream_from_template(given.streams.video[0])
        film.codec_context.sample_aspect_ratio = Fraction(4, 3)
        output.set_chapters(
            [{"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000), "metadata": {"title": "A"}}]
        )
        picture = av.VideoFrame.from_ndarray(np.full((40, 40, 3), 90, np.uint8), "rgb24")
        for packet in (*cover.encode(picture), *cover.encode(None)):
            output.mux(packet)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = film
                output.mux(packet)
    with av.open(str(source)) as container:
        assert {stream.type for stream in container.streams} == {"video", "data"}
    video = Video(source, tmp_path / "large.mp4", engine)
    assert (list(video.upscaled())[-1], video.left_out) == (6, [])
    with av.open(str(tmp_path / "large.mp4")) as container:
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["A"]
        size = {stream.codec_context.name: stream.codec_context.width for stream in container.streams.video}
        assert size == {"mjpeg": 40, "h264": 96}
        (film,) = (stream for stream in container.streams.video if stream.codec_context.name == "h264")
        assert film.sample_aspect_ratio == Fraction(4, 3)


def test_frames_are_in_order_in_avi(clip: Any, engine: Engine, tmp_path: Path):
    """AVI says nothing of the order, so that it must be that of the file."""
    for name in ("large.avi", "large.mkv"):
        assert list(Video(clip(), tmp_path / name, engine, quality=0).upscaled())[-1] == 6
    with av.open(str(tmp_path / "large.avi")) as container:
        stored = [packet.dts * packet.time_base for packet in container.demux(video=0) if packet.size]
    assert stored == [Fraction(tick, 25) for tick in TICKS]
    for found, expected in zip(frames(tmp_path / "large.avi"), frames(tmp_path / "large.mkv"), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_fonts_are_kept_in_matroska_alone(clip: Any, engine: Engine, tmp_path: Path):
    source = tmp_path / "font.mkv"
    with av.open(str(clip())) as given, av.open(str(source), "w") as output:
        film = output.add_stream_from_template(given.streams.video[0])
        output.add_attachment("font.ttf", "application/x-truetype-font", b"glyphs" * 50)
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = film
                output.mux(packet)
    for name, left_out in (("large.mkv", []), ("large.mp4", ["stream 1 (attachment)"])):
        video = Video(source, tmp_path / name, engine)
        assert (list(video.upscaled())[-1], video.left_out) == (6, left_out)
    with av.open(str(tmp_path / "large.mkv")) as container:
        assert container.streams.attachments[0].name == "font.ttf"


def test_the_matrix_that_was_meant_is_named(engine: Engine, tmp_path: Path):
    """Players take what has no name for BT.601 or BT.709 by the height, which changes."""
    source = tmp_path / "plain.mkv"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.tile(np.arange(48, dtype=np.uint8)[:, None] * 5, (36, 1, 3)), "rgb24")
        output.mux(stream.encode(frame.reformat(format="yuv444p")))
        output.mux(stream.encode(None))
    list(Video(source, tmp_path / "large.mkv", engine).upscaled())
    with av.open(str(tmp_path / "large.mkv")) as container:
        assert container.streams.video[0].codec_context.colorspace == 5


def test_grey_of_10_bits_keeps_them(engine: Engine, tmp_path: Path):
    source = tmp_path / "grey.mkv"
    values = np.linspace(0, 1023, 48 * 36).reshape(36, 48).astype(np.uint16)
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 36, "gray10le"
        output.mux(stream.encode(av.VideoFrame.from_ndarray(values, "gray10le")))
        output.mux(stream.encode(None))
    assert list(Video(source, tmp_path / "large.mkv", engine, quality=0).upscaled()) == [1]
    with av.open(str(tmp_path / "large.mkv")) as container:
        assert container.streams.video[0].codec_context.format.name == "yuv420p10le"
        large = next(container.decode(video=0)).reformat(format="gray16le").to_ndarray()
    assert len(np.unique(large)) > 256


@pytest.mark.parametrize(("name", "codec", "pixels"), [("a.mkv", "ffv1", "bgra"), ("a.webm", "libvpx-vp9", "yuva420p")])
def test_transparency_that_is_left_out_is_said(name: str, codec: str, pixels: str, engine: Engine, tmp_path: Path):
    with av.open(str(tmp_path / name), "w") as output:
        stream = output.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 36, pixels
        planes = np.tile(np.arange(48, dtype=np.uint8)[:, None] * 5, (36, 1, 4))
        frame = av.VideoFrame.from_ndarray(planes, "rgba").reformat(format=pixels)
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    video = Video(tmp_path / name, tmp_path / f"large_{name}", engine)
    assert (list(video.upscaled()), video.left_out) == ([1], ["the transparency"])


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_what_was_cut_off_is_said(clip: Any, engine: Engine, name: str, tmp_path: Path):
    source = clip(name)
    video = Video(source, tmp_path / "whole.mkv", engine)
    assert list(video.upscaled())[-1] == 6
    assert video.lacking < 0.1
    if name == "clip.mp4":  # With its index at the beginning, without which nothing of it can be read.
        first = tmp_path / "first.mp4"
        with av.open(str(source)) as given, av.open(str(first), "w", options={"movflags": "faststart"}) as output:
            stream = output.add_stream_from_template(given.streams.video[0])
            for packet in given.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    output.mux(packet)
        source = first
    content = source.read_bytes()
    short = tmp_path / f"short{source.suffix}"
    short.write_bytes(content[: len(content) * 2 // 3])
    video = Video(short, tmp_path / "short_x2.mkv", engine)
    count = list(video.upscaled())[-1]
    assert count < 6
    assert video.lacking == pytest.approx((TICKS[-1] + 1 - TICKS[count]) / 25, abs=0.13)


def test_frames_that_the_weights_do_not_know(network: BlindSR, clip: Any, tmp_path: Path):
    """They are mixed with bicubic upsampling, as images are, and the user is told once."""
    model = copy.deepcopy(network)
    lr = frames(clip())
    mean = torch.stack([Engine(model, "fp32").encode(Picture(frame).rgb())[0] for frame in lr]).mean(0)
    model.G.bounds = torch.stack((mean - 1e-4, mean, mean + 1e-4))
    engine = Engine(model, "fp32")
    pictures = [Picture(frame) for frame in lr]
    with pytest.warns(PictureWarning, match="it is unlike the images") as told:
        results = list(upscale_frames(engine, pictures, "each"))
    assert len(told) == 1
    for picture, result in zip(pictures, results, strict=True):
        with pytest.warns(PictureWarning):
            np.testing.assert_array_equal(result.pixels, upscale(engine, picture).pixels)
    model.G.bounds = None
    with torch.no_grad():
        model.G.tail[1].bias += 1e6
    with pytest.raises(RuntimeError, match="far outside of the picture's range"):
        list(Video(clip(), tmp_path / "large.mp4", Engine(model, "fp32")).upscaled())
    assert not (tmp_path / "large.mp4").exists()


def test_a_frame_that_cannot_be_restored_does_not_end_a_video(clip: Any, engine: Engine):
    first, second = (Picture(frame) for frame in frames(clip())[:2])
    black = Picture(np.zeros_like(first.pixels))
    with pytest.raises(RuntimeError, match="far outside"):
        list(upscale_frames(engine, [black, first], "each"))
    with pytest.warns(PictureWarning, match="can't restore some frames, which were upsampled bicubically"):
        results = list(upscale_frames(engine, [first, black, second], "each"))
    right = upscale(engine, first).pixels, 0, upscale(engine, second).pixels
    for result, expected in zip(results, right, strict=True):
        np.testing.assert_array_equal(result.pixels, np.broadcast_to(expected, (72, 96, 3)))


def test_another_format(clip: Any, engine: Engine, tmp_path: Path):
    video = Video(clip(), tmp_path / "large.webm", engine)
    assert (list(video.upscaled())[-1], len(frames(tmp_path / "large.webm"))) == (6, 6)
    assert video.left_out == ["stream 1 (audio)"]  # WebM holds no AAC.


def test_an_interruption_leaves_nothing(clip: Any, engine: Engine, tmp_path: Path):
    source = clip()
    upscaled = Video(source, tmp_path / "large.mp4", engine).upscaled()
    next(upscaled)
    upscaled.close()
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("content", [b"", b"nothing like a video" * 50])
def test_what_is_no_video(engine: Engine, content: bytes, tmp_path: Path):
    source = tmp_path / "clip.mp4"
    with pytest.raises(FileNotFoundError, match="There is no file"):
        Video(source, tmp_path / "large.mp4", engine)
    source.write_bytes(content)
    with pytest.raises(VideoError, match=r"clip\.mp4 is not a video that can be read"):
        Video(source, tmp_path / "large.mp4", engine)


def test_the_command(clip: Any, network: BlindSR, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    save_weights(network, tmp_path / "small.safetensors")

    def call(*arguments: object) -> tuple[int, str, str]:
        options = ("--weights", tmp_path / "small.safetensors", "--device", "cpu")
        return run(list(map(str, ("upscale", *arguments, *options)))), *capsys.readouterr()

    source = clip()
    (tmp_path / "broken.mp4").write_bytes(source.read_bytes()[:600])
    assert call(source) == (0, f"Upscaled to {tmp_path / 'clip_x2.mp4'} in fp32\n", "")
    assert len(frames(tmp_path / "clip_x2.mp4")) == 6
    assert call(source, "-o", tmp_path / "new" / "large.mp4")[0] == 0
    assert len(frames(tmp_path / "new" / "large.mp4")) == 6
    (tmp_path / "folder.mp4").mkdir()
    Image.fromarray(frames(source)[0]).save(tmp_path / "folder.mp4" / "a.png")
    assert "1 done" in call(tmp_path / "folder.mp4")[1]
    for arguments, code, message in (
        ([source], 2, "exists already; --overwrite replaces it"),
        ([source, "-o", tmp_path / "clip.png"], 2, "videos are written as"),
        ([source, "--width", 100], 2, "A video is upscaled by itself"),
        ([tmp_path / "broken.mp4"], 1, "broken.mp4 is not a video"),
        ([tmp_path / "none.mp4"], 2, "There is no file or folder"),
    ):
        found, _, error = call(*arguments)
        assert (found, message in error, error.count("\n")) == (code, True, 1)


def test_without_pyav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "av", None)
    assert run(["upscale", str(tmp_path / "clip.mp4")]) == 2
    assert capsys.readouterr().err == "dasr-fast: Videos need PyAV: pip install 'dasr-fast[video]'.\n"
