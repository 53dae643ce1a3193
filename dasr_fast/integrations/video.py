"""Videos, super-resolved frame by frame by PyAV; extra `video`."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dasr_fast.files import written_whole
from dasr_fast.images import Picture, Pixels
from dasr_fast.inference.attempts import Tile
from dasr_fast.inference.engine import Engine
from dasr_fast.inference.pictures import Representation, upscale_frames

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
        tile: See `Engine`.

    Attributes:
        frames: How many there are, by what the file says; 0 if it doesn't.
        left_out: What the result can't hold, in words.
        lacking: Seconds that are missing at the end of the source by its own account, as of a file that was cut off.

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
        tile: Tile = "auto",
    ) -> None:
        self._av, source, target = require_pyav(), Path(source), Path(target)
        if not source.is_file():
            raise FileNotFoundError(f"There is no file {source}.")
        self.source, self.target, self.engine = source, target, engine
        self.representation, self.quality, self.tile = representation, quality, tile
        self.left_out: list[str] = []
        self.lacking = 0.0
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
            if _has_alpha(first, stream):
                self.left_out.append("the transparency")

    def upscaled(self) -> Iterator[int]:
        """Write the result, whole or not at all; yields the number of frames after each.

        Raises:
            VideoError: A frame can't be read, or the format isn't written.
            RuntimeError: The weights can't restore a frame, or there isn't enough memory.
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
        end = 0.0

        def pictures() -> Iterator[Picture]:
            nonlocal end
            for packet in container.demux():
                if packet.stream is source:
                    for frame in packet.decode():
                        end = max(end, _end(frame))
                        times.append((frame.pts, frame.time_base))
                        yield _picture(frame, source.codec_context)
                elif packet.size and copies[packet.stream] is not None:  # The last, empty ones end the streams.
                    packet.stream = copies[packet.stream]
                    output.mux(packet)

        results = upscale_frames(self.engine, pictures(), self.representation, tile=self.tile)
        for count, sr in enumerate(results, 1):
            frame = self._encodable(np.ascontiguousarray(sr.pixels), target, source)
            frame.pts, frame.time_base = times.pop(0)
            output.mux(target.encode(frame))
            yield count
        output.mux(target.encode(None))
        self.lacking = max(0.0, _announced_end(source) - end)

    def _video_stream(self, source: Any, output: Any) -> Any:
        """A stream for frames like those of `source`, but larger."""
        webm = self.target.suffix.lower() == ".webm"
        options = {"crf": str(self.quality)} | ({"b:v": "0", "row-mt": "1"} if webm else {})
        avi = self.target.suffix.lower() == ".avi"
        if avi:
            options["bf"] = "0"  # AVI has no times by which frames could be put in order.
        stream = output.add_stream("libvpx-vp9" if webm else "libx264", rate=source.average_rate, options=options)
        context, scale = source.codec_context, self.engine.scale
        stream.width, stream.height = context.width * scale, context.height * scale
        name = context.format.name.replace("yuvj", "yuv")
        known = {f.name for f in stream.codec_context.codec.video_formats}
        odd = stream.width % 2 or stream.height % 2
        sampled = re.match("yuva?(420|422|444)p", name)
        usual = f"yuv{444 if odd else sampled[1] if sampled else 420}p{'10le' if _is_deep(context.format) else ''}"
        stream.pix_fmt = name if name in known and name.startswith("yuv") and not odd else usual
        # AVI has an empty frame for every tick without one.
        stream.codec_context.time_base = 1 / source.base_rate if avi and source.base_rate else source.time_base
        for fact in ("color_range", "color_primaries", "color_trc"):
            value = getattr(context, fact)
            if value:
                setattr(stream.codec_context, fact, value)
        stream.codec_context.colorspace = _colours(context)[0]  # Players would guess it from the new height.
        if source.sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = source.sample_aspect_ratio
        if context.format.name.startswith("yuvj"):
            stream.codec_context.color_range = _FULL
        stream.metadata.update(source.metadata)
        if self._rotation:
            stream.set_display_rotation(self._rotation)
        return stream

    def _copied(self, stream: Any, output: Any) -> Any:
        """A stream that takes the packets of another, or None if the format can't hold it."""
        if stream.type == "data":
            if not stream.container.chapters():  # MP4 has a stream for them, which is made anew.
                self.left_out.append(f"stream {stream.index} (data)")
            return None
        try:
            if stream.type == "attachment" and self.target.suffix.lower() != ".mkv":
                raise ValueError("Only Matroska holds files, such as fonts; FFmpeg finds that out too late.")
            copy = output.add_stream_from_template(stream)
        except (ValueError, self._av.error.FFmpegError):
            self.left_out.append(f"stream {stream.index} ({stream.type})")
            return None
        copy.metadata.update(stream.metadata)
        copy.disposition = stream.disposition
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
        if not stream.disposition & type(stream.disposition).attached_pic:
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
    pixels = frame.reformat(
        format="rgb48le" if _is_deep(frame.format) else "rgb24",
        src_colorspace=matrix,
        src_color_range=_FULL if full else _LIMITED,
        dst_color_range=_FULL,
    ).to_ndarray()
    return Picture(np.ascontiguousarray(pixels))


def _is_deep(pixels: Any) -> bool:
    return max(component.bits for component in pixels.components) > 8


def _has_alpha(frame: Any, stream: Any) -> bool:
    """Whether there is transparency; FFmpeg's own decoder of VP9 doesn't read that of WebM, whose metadata tell."""
    return any(part.is_alpha for part in frame.format.components) or stream.metadata.get("alpha_mode") == "1"


def _end(frame: Any) -> float:
    """When a frame ends, in seconds; 0 if it has no time."""
    return 0.0 if frame.pts is None else float((frame.pts + (frame.duration or 0)) * frame.time_base)


def _announced_end(stream: Any) -> float:
    """When a stream ends, in seconds, by what the file says at its beginning; 0 if it doesn't."""
    if stream.duration:
        return float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    parts = stream.metadata.get("DURATION", "").split(":")  # As Matroska has it: 00:00:01.600000000.
    return sum(float(part) * 60**power for power, part in enumerate(reversed(parts)) if re.fullmatch(r"[\d.]+", part))
