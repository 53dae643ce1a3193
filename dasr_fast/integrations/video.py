"""Videos, super-resolved frame by frame by PyAV; extra `video`."""

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain, groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.files import written_whole
from dasr_fast.images import Picture, Pixels
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.pictures import BORDER, embed

Representation = Literal["each", "first", "shot"]

CUT = 20.0
"""Grey levels by which the frames on both sides of a cut differ, on average over small copies of them."""

# FFmpeg's numbers.
_LIMITED, _FULL = 1, 2
_BT709, _UNKNOWN, _BT601 = 1, 2, 5


class VideoError(ValueError):
    """A file isn't a video that can be read or written; the message says why."""


class Video:
    """A video that becomes larger, frame by frame.

    All other streams are copied (audio, subtitles, attached pictures), and so are chapters, metadata, rotation, colour
    range and matrix, and the time of every frame. What the format of the result can't hold is left out, see `left_out`.

    Args:
        source: A video, of any format that FFmpeg reads.
        target: The result, whose ending names the format: VP9 in `.webm`, else H.264.
        engine: Computes the frames.
        representation: "each" encodes every frame, "first" the first alone, "shot" the first after each cut; the last
            two keep videos whose degradation doesn't change from flickering.
        quality: CRF of the encoder: smaller is better and larger; 0 is lossless.

    Attributes:
        frames: How many there are, by what the file says; 0 if it doesn't.
        left_out: Streams that the result can't hold, in words.

    Raises:
        ImportError: PyAV isn't installed.
        FileNotFoundError: There is no such file.
        VideoError: It isn't a video.
    """

    def __init__(
        self,
        source: str | Path,
        target: str | Path,
        engine: Engine,
        *,
        representation: Representation = "shot",
        quality: int = 16,
    ) -> None:
        self._av, source, target = require_pyav(), Path(source), Path(target)
        if not source.is_file():
            raise FileNotFoundError(f"There is no file {source}.")
        self.source, self.target, self.engine = source, target, engine
        self.representation, self.quality = representation, quality
        self.left_out: list[str] = []
        with self._opened() as container:
            stream = _main_stream(container, source)
            seconds = float(stream.duration * stream.time_base) if stream.duration else 0.0
            self.frames = stream.frames or round(seconds * float(stream.average_rate or 0))
            try:
                first = next(container.decode(stream), None)
            except self._av.error.FFmpegError as error:
                raise VideoError(f"{source} holds no frame that can be read: {error.strerror}.") from None
            if first is None:
                raise VideoError(f"{source} holds no frame.")
            self._rotation = first.rotation

    def upscaled(self) -> Iterator[int]:
        """Write the result, whole or not at all; yields the number of frames after each.

        Raises:
            VideoError: A frame can't be read, or the format isn't written.
            OSError: The file can't be written.
        """
        errors = self._av.error
        try:
            with written_whole(self.target) as temporary, ExitStack() as stack:
                container = stack.enter_context(self._opened())
                output = stack.enter_context(self._av.open(str(temporary), "w"))
                yield from self._written(container, output)
        except errors.FFmpegError as error:
            if isinstance(error, OSError) and not isinstance(error, errors.InvalidDataError | errors.ArgumentError):
                raise
            raise VideoError(f"{self.source} can't be upscaled to {self.target.name}: {error.strerror}.") from None

    def _opened(self) -> Any:
        try:
            return self._av.open(str(self.source))
        except self._av.error.FFmpegError as error:
            raise VideoError(f"{self.source} is not a video that can be read: {error.strerror}.") from None

    def _written(self, container: Any, output: Any) -> Iterator[int]:
        source = _main_stream(container, self.source)
        source.thread_type = "AUTO"
        target = self._video_stream(source, output)
        copies = {stream: self._copied(stream, output) for stream in container.streams if stream is not source}
        output.metadata.update(container.metadata)
        if container.chapters():
            output.set_chapters(container.chapters())
        times: list[Any] = []

        def pictures() -> Iterator[Picture]:
            for packet in container.demux():
                if packet.stream is source:
                    for frame in packet.decode():
                        times.append((frame.pts, frame.time_base))
                        yield _picture(frame, source.codec_context)
                elif packet.dts is not None and copies[packet.stream] is not None:
                    packet.stream = copies[packet.stream]
                    output.mux(packet)

        shots = _by_shot(pictures(), self.representation)
        for count, sr in enumerate(_restored(self.engine, shots), 1):
            frame = self._encodable(sr, target, source)
            frame.pts, frame.time_base = times.pop(0)
            output.mux(target.encode(frame))
            yield count
        output.mux(target.encode(None))

    def _video_stream(self, source: Any, output: Any) -> Any:
        """A stream for frames like those of `source`, but larger."""
        webm = self.target.suffix.lower() == ".webm"
        options = {"crf": str(self.quality)} | ({"b:v": "0", "row-mt": "1"} if webm else {})
        stream = output.add_stream("libvpx-vp9" if webm else "libx264", rate=source.average_rate, options=options)
        context, scale = source.codec_context, self.engine.scale
        stream.width, stream.height = context.width * scale, context.height * scale
        name = context.format.name.replace("yuvj", "yuv")
        known = {f.name for f in stream.codec_context.codec.video_formats}
        odd = stream.width % 2 or stream.height % 2
        stream.pix_fmt = (
            name if name in known and name.startswith("yuv") and not odd else "yuv444p" if odd else "yuv420p"
        )
        stream.codec_context.time_base = source.time_base
        for fact in ("color_range", "colorspace", "color_primaries", "color_trc", "sample_aspect_ratio"):
            value = getattr(context, fact)
            if value:
                setattr(stream.codec_context, fact, value)
        if context.format.name.startswith("yuvj"):
            stream.codec_context.color_range = _FULL
        stream.metadata.update(source.metadata)
        if self._rotation:
            stream.set_display_rotation(self._rotation)
        return stream

    def _copied(self, stream: Any, output: Any) -> Any:
        """A stream that takes the packets of another, or None if the format can't hold it."""
        try:
            copy = output.add_stream_from_template(stream)
        except (ValueError, self._av.error.FFmpegError):
            self.left_out.append(f"stream {stream.index} ({stream.type})")
            return None
        copy.metadata.update(stream.metadata)
        return copy

    def _encodable(self, sr: Pixels, target: Any, source: Any) -> Any:
        frame = self._av.VideoFrame.from_ndarray(sr, "rgb48le" if sr.dtype == np.uint16 else "rgb24")
        matrix, full = _colours(source.codec_context)
        return frame.reformat(
            format=target.pix_fmt,
            dst_colorspace=matrix,
            dst_color_range=_FULL if full else _LIMITED,
            src_color_range=_FULL,
        )


def require_pyav() -> Any:
    """PyAV; an ImportError says how to install it."""
    try:
        import av
    except ModuleNotFoundError:
        raise ImportError("Videos need PyAV: pip install 'dasr-fast[video]'.") from None
    return av


def _main_stream(container: Any, source: Path) -> Any:
    """The video, which isn't an attached picture such as a cover."""
    for stream in container.streams.video:
        if "attached_pic" not in str(stream.disposition):
            return stream
    raise VideoError(f"{source} holds no video.")


def _colours(context: Any) -> tuple[int, bool]:
    """The matrix between YUV and RGB, by what is said or usual at that height, and whether YUV has the full range."""
    said = int(context.colorspace or _UNKNOWN)
    matrix = said if said not in (0, _UNKNOWN) else _BT709 if context.height >= 720 else _BT601
    return matrix, context.color_range == _FULL or context.format.name.startswith("yuvj")


def _picture(frame: Any, context: Any) -> Picture:
    """A frame in RGB, of 16 bits if it has more than 8."""
    matrix, full = _colours(context)
    deep = max(component.bits for component in frame.format.components) > 8
    pixels = frame.reformat(
        format="rgb48le" if deep else "rgb24",
        src_colorspace=matrix,
        src_color_range=_FULL if full else _LIMITED,
        dst_color_range=_FULL,
    ).to_ndarray()
    return Picture(np.ascontiguousarray(pixels))


def _by_shot(pictures: Iterator[Picture], representation: Representation) -> Iterator[tuple[int, Picture]]:
    """Pictures with numbers that change where one is to be encoded."""
    number, before = 0, None
    for picture in pictures:
        small = F.adaptive_avg_pool2d(picture.rgb(), 16)
        cut = before is not None and (small - before).abs().mean().item() > CUT
        number += representation == "each" or (representation == "shot" and cut)
        before = small
        yield number, picture


def _restored(engine: Engine, shots: Iterator[tuple[int, Picture]]) -> Iterator[Pixels]:
    """The pictures super-resolved, each shot with the embedding of its first."""
    inner = slice(BORDER * engine.scale, -BORDER * engine.scale)
    for _, shot in groupby(shots, key=lambda numbered: numbered[0]):
        first = next(shot)[1]
        v = embed(engine, first)[0]
        padded = (_padded(picture) for picture in chain((first,), (picture for _, picture in shot)))
        for sr in engine.stream(padded, representation=v):
            yield np.ascontiguousarray(first.replaced(sr[None], None).pixels[inner, inner])


def _padded(picture: Picture) -> Tensor:
    """`[3, H, W]` with its outermost pixels repeated, as `inference.pictures.upscale` has it."""
    return F.pad(picture.rgb(), [BORDER] * 4, mode="replicate")[0]
