"""The engine: a model made fast for inference on images of any size."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn

from dasr_fast.inference import tiling
from dasr_fast.inference.executor import Executor
from dasr_fast.inference.stream import CudaTransfers, overlapped
from dasr_fast.inference.tiling import SMALLEST, Place, Window, choose_window
from dasr_fast.memory import free_memory, is_out_of_memory
from dasr_fast.models.adopt import as_blind_sr
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.precision import PRECISIONS, choose_precision

Tile = int | Literal["auto"]
T = TypeVar("T")

UNASKED = 2**18
"""LR pixels up to which nobody asks how much memory a GPU has free: with 64 channels they take 0.6 GB."""

LEAST = 2**14
"""LR pixels that are computed at once however little memory seems to be free, in 35 MB; a CPU isn't asked for fewer."""

MOST = 2**24
"""LR pixels computed at once at most: kernels count the numbers of 64 features of so many pixels in 32 bits."""

FEATURES = 6
"""Maps of features that are alive at once, at most; 5.5 were measured on a CPU."""

CPU_BYTES = 2 * 2**30
"""Memory for features on a CPU at most, where larger tiles are no faster."""


class Engine:
    """Super-resolves with a model, as fast as its weights allow, in tiles where an image is too large for the memory.

    The model's weights are copied and rearranged once (`FoldedNetwork`); later changes of the model don't matter.
    Results are those of `BlindSR` to the rounding of the precision, and for images in tiles but for small differences
    at their seams. Several threads may use one engine; on a GPU, though, a call changes PyTorch's TF32 settings while
    it runs, and those belong to the process.

    Args:
        model: `BlindSR`, ours or the released one, on any device. Its mode doesn't matter: the encoder uses its running
            statistics.
        precision: "fp32", "tf32" (float32 with convolutions in TensorFloat-32, on NVIDIA GPUs), "fp16", "bf16", or
            "auto": fp16 on an NVIDIA GPU of compute capability 7.5 or newer, else fp32. In fp16 features are scaled by
            a power of two against overflow; a result that overflows all the same is computed again in fp32, with a
            warning.
        backend: "auto" or the name of one; see `dasr_fast.ops`.

    Attributes:
        scale: Factor between LR and SR.
        device: Where it computes.
        precision: The one in use.
        bounds: Of the embeddings that the weights were trained with, `[3, 256]`, as `DASR.bounds`; embeddings outside
            are drawn inside. None if nobody knows.
        noise: Largest noise of the training in grey levels, or None.

    Raises:
        TypeError: The model is another network.
        ValueError: There is no such precision, or not on this device, or the model's forward differs from DASR's.
    """

    def __init__(self, model: nn.Module, precision: str = "auto", backend: str = "auto") -> None:
        blind_sr = as_blind_sr(model)
        self.device = next(blind_sr.parameters()).device
        chosen = choose_precision(precision, self.device)
        self.precision, self.scale = chosen.name, blind_sr.scale
        self.noise = blind_sr.noise
        self.bounds = None if blind_sr.G.bounds is None else blind_sr.G.bounds.float()
        self._channels = next(blind_sr.G.head.parameters()).shape[0]
        self._executor = Executor(blind_sr, chosen, backend)
        self._wide = Executor(blind_sr, PRECISIONS["fp32"], backend) if chosen.name == "fp16" else None
        self._most = MOST

    def __call__(self, lr: Tensor, *, tile: Tile = "auto") -> Tensor:
        """SR image of an LR image.

        Args:
            lr: `[B, 3, H, W]` or `[3, H, W]` in 0 to 255, uint8 or floating point, on any device.
            tile: Side in LR pixels, at least 64, of the tiles in which the image is computed; 0 computes it as a whole,
                and "auto" too, if there is memory for it. Where memory runs out, smaller tiles are tried, with a
                warning.

        Returns:
            `[B, 3, H * scale, W * scale]` or `[3, H * scale, W * scale]`, float32, neither rounded nor clamped, on the
            device of `lr`.

        Raises:
            TypeError: The image isn't a tensor of such a type.
            ValueError: Its shape or the tile is another.
            RuntimeError: There isn't enough memory for the smallest tile.
        """
        return self._assembled(lr, None, tile)

    def encode(self, lr: Tensor, *, tile: Tile = "auto") -> Tensor:
        """Embeddings `[B, 256]`, float32 on the engine's device, of LR images as for a call; the same in tiles."""
        _check_tile(tile)
        images = _images(lr)

        def run(executor: Executor, window: Window) -> Iterator[Tensor]:
            v = tiling.encode(executor, images, window, self.device)
            _refuse_overflow(executor, v)
            yield v

        return list(self._attempts(images, tile, run))[-1]

    def restore(self, lr: Tensor, v: Tensor, *, tile: Tile = "auto") -> Tensor:
        """As a call, with given embeddings `v` `[B, 256]`; one `[256]` or `[1, 256]` serves all images."""
        return self._assembled(lr, self._embeddings(v, len(_images(lr))), tile)

    def pieces(self, lr: Tensor, v: Tensor | None = None, *, tile: Tile = "auto") -> Iterator[tuple[Place, Tensor]]:
        """SR piece by piece, for results that are too large to be held in float32.

        Args:
            lr: As for a call.
            v: Embeddings as for `restore`; those of the images themselves if None.
            tile: As for a call.

        Yields:
            The place of a piece in `[B, 3, H * scale, W * scale]`, as slices, and the piece, on the engine's device.
            Together they cover the result; a later piece replaces what lies at its place already.
        """
        return self._pieces(lr, v, tile, checked=True)

    def stream(
        self, frames: Iterable[Tensor], *, representation: Literal["each", "first"] | Tensor = "each"
    ) -> Iterator[Tensor]:
        """SR of a stream of frames, one at a time, in order.

        On a GPU, frames on the CPU are uploaded and their results downloaded while others are computed, so that a
        result comes one frame late. Frames of one size are computed by one CUDA graph.

        Args:
            frames: LR images `[3, H, W]` as for a call, all on one device. Each must stay as it is until its result has
                come.
            representation: "each" encodes every frame. "first" encodes the first alone, and a tensor `[256]` none at
                all, which is faster, and keeps a video whose degradation doesn't change from flickering.

        Yields:
            `[3, H * scale, W * scale]` as from a call.
        """
        v = None
        if isinstance(representation, Tensor):
            v = self._embeddings(representation, 1)
        elif representation not in ("each", "first"):
            raise ValueError(f"Engine: representation must be each, first or a tensor [256]; got {representation!r}.")
        return self._stream(map(_frame, frames), v, encode_first=v is None and representation == "first")

    def _stream(self, frames: Iterator[Tensor], v: Tensor | None, *, encode_first: bool) -> Iterator[Tensor]:
        first = next(frames, None)
        if first is None:
            return
        if encode_first:
            v = self.encode(first)
        frames = chain((first,), frames)
        if self.device.type != "cuda" or first.device.type != "cpu":
            for frame in frames:
                yield self._assembled(frame, v, "auto")
            return

        def compute(frame: Tensor) -> tuple[Tensor, Tensor]:
            sr = self._assembled(frame, v, "auto", checked=False)
            return sr, _finite(sr)

        for frame, (sr, finite) in overlapped(frames, compute, CudaTransfers(self.device)):
            yield sr if finite else self._assembled(frame, v, "auto")

    def _assembled(self, lr: Tensor, v: Tensor | None, tile: Tile, *, checked: bool = True) -> Tensor:
        pieces = self._pieces(lr, v, tile, checked=checked)
        *leading, height, width = lr.shape
        shape = (*leading, height * self.scale, width * self.scale)
        sr = torch.empty(shape, dtype=torch.float32, device=lr.device)
        if self.device.type == "cpu":
            sr.zero_()  # Linux counts memory as taken when it is written, and the pieces are to fit into what is left.
        whole = sr if sr.dim() == 4 else sr[None]
        for place, piece in pieces:
            whole[place] = piece
        return sr

    def _pieces(self, lr: Tensor, v: Tensor | None, tile: Tile, *, checked: bool) -> Iterator[tuple[Place, Tensor]]:
        _check_tile(tile)
        images = _images(lr)
        given = None if v is None else self._embeddings(v, len(images))

        def run(executor: Executor, window: Window) -> Iterator[tuple[Place, Tensor]]:
            own = tiling.encode(executor, images, window, self.device) if given is None else given
            for place, sr in tiling.restore(executor, images, own, window, self.scale):
                if checked:
                    _refuse_overflow(executor, sr)
                yield place, sr

        return self._attempts(images, tile, run)

    def _attempts(self, images: Tensor, tile: Tile, run: Callable[[Executor, Window], Iterator[T]]) -> Iterator[T]:
        """What `run` yields; from its beginning again in fp32 if it overflows, in smaller tiles if memory runs out."""
        executor, window = self._executor, self._window(self._executor, images, tile)
        released = False
        while True:
            try:
                yield from run(executor, window)
                return
            except _OverflowedError:
                assert self._wide is not None
                executor, window = self._wide, self._window(self._wide, images, tile)
                message = "a result overflowed in fp16 and is computed again in fp32"
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                if self._release() and not released:
                    released = True
                    continue
                window = self._smaller(window, error)
                message = f"memory ran out, and tiles of {window.height} x {window.width} LR pixels are tried"
            warnings.warn(f"Engine: {message}.", RuntimeWarning, stacklevel=2)

    def _release(self) -> bool:
        """Give back what memory is kept for later calls; returns whether CUDA graphs held some."""
        held = self._executor.release()
        return (self._wide is not None and self._wide.release()) or held

    def _smaller(self, window: Window, error: BaseException) -> Window:
        """A smaller window where `window` was too large, which won't be tried for other images either."""
        smaller = window.smaller()
        if smaller is None:
            raise RuntimeError(
                f"Engine: there isn't enough memory on {self.device} for tiles of {SMALLEST} LR pixels."
            ) from error
        self._most = min(self._most, smaller.samples * smaller.height * smaller.width)
        return smaller

    def _window(self, executor: Executor, images: Tensor, tile: Tile) -> Window:
        batch, _, height, width = images.shape
        pixels = self._most
        if batch * height * width > (LEAST if self.device.type == "cpu" else UNASKED):
            pixels = min(pixels, self._affordable(executor))
        return choose_window(batch, height, width, pixels, None if tile == "auto" else tile)

    def _affordable(self, executor: Executor) -> int:
        """LR pixels whose features fit into the free memory."""
        free = free_memory(self.device)
        if free is None:
            return UNASKED
        itemsize, outputs = executor.precision.dtype.itemsize, 3 * self.scale**2
        budget = int(0.8 * free)
        if self.device.type == "cpu":  # Some of its convolutions in 16 bits work in 32.
            budget, itemsize = min(free // 2, CPU_BYTES), 4
        per_pixel = itemsize * (FEATURES * self._channels + 2 * outputs) + 4 * outputs
        return max(LEAST, budget // per_pixel)

    def _embeddings(self, v: Tensor, batch: int) -> Tensor:
        if not isinstance(v, Tensor) or not v.is_floating_point():
            raise TypeError(f"Engine: v must be a floating-point tensor; got {_kind(v)}.")
        rows = v[None] if v.dim() == 1 else v
        if tuple(rows.shape) not in ((1, EMBEDDING), (batch, EMBEDDING)):
            raise ValueError(
                f"Engine: v must be [{EMBEDDING}], or [B, {EMBEDDING}] with B = 1 or {batch} as lr has it; "
                f"got {list(v.shape)}."
            )
        return rows.to(self.device).float().expand(batch, -1)


class _OverflowedError(ArithmeticError):
    """A result in fp16 isn't finite."""


def _finite(x: Tensor) -> Tensor:
    """Whether all of `x` is finite, as a tensor: images are too small for their sum to overflow."""
    return x.sum().isfinite()


def _refuse_overflow(executor: Executor, x: Tensor) -> None:
    if executor.precision.dtype == torch.float16 and not _finite(x):
        raise _OverflowedError


def _images(lr: Tensor) -> Tensor:
    """`lr` as `[B, 3, H, W]`, checked."""
    if not isinstance(lr, Tensor) or not (lr.is_floating_point() or lr.dtype == torch.uint8):
        raise TypeError(f"Engine: lr must be a tensor of uint8 or floating point in 0 to 255; got {_kind(lr)}.")
    if lr.dim() not in (3, 4) or lr.shape[-3] != 3 or 0 in lr.shape[-2:]:
        raise ValueError(f"Engine: lr must be [B, 3, H, W] or [3, H, W]; got {list(lr.shape)}.")
    return lr if lr.dim() == 4 else lr[None]


def _frame(frame: Tensor) -> Tensor:
    """`frame`, checked."""
    _images(frame)
    if frame.dim() != 3:
        raise ValueError(f"Engine: frames must be [3, H, W]; got {list(frame.shape)}.")
    return frame


def _check_tile(tile: Tile) -> None:
    if tile == "auto":
        return
    if isinstance(tile, bool) or not isinstance(tile, int) or (tile != 0 and tile < SMALLEST):
        raise ValueError(
            f"Engine: tile must be auto, 0 for the whole image, or at least {SMALLEST} LR pixels; got {tile!r}."
        )


def _kind(value: object) -> str:
    return str(value.dtype).removeprefix("torch.") if isinstance(value, Tensor) else type(value).__name__
