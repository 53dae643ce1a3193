"""The engine: a model made fast for inference on images of any size."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal

import torch
from torch import Tensor, nn

from dasr_fast.inference.attempts import Attempts, Tile
from dasr_fast.inference.stream import CudaTransfers, overlapped
from dasr_fast.inference.tiling import SMALLEST, Place
from dasr_fast.models.adopt import as_blind_sr
from dasr_fast.models.encoder import EMBEDDING
from dasr_fast.ops.backends import BACKENDS
from dasr_fast.ops.checks import type_name
from dasr_fast.precision import choose_precision


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
            "auto": fp16 on an NVIDIA GPU of compute capability 7.5 or newer, bf16 on a CPU with a matrix unit (AMX),
            else fp32. In fp16 features are scaled by a power of two against overflow; a result that overflows all the
            same is computed again in fp32, with a warning.
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
        ValueError: There is no such backend, no such precision (on this device), or the model's forward isn't DASR's.
    """

    def __init__(self, model: nn.Module, precision: str = "auto", backend: str = "auto") -> None:
        if backend not in ("auto", *BACKENDS):
            raise ValueError(f"Engine: backend must be one of auto, {', '.join(BACKENDS)}; got {backend!r}.")
        blind_sr = as_blind_sr(model)
        self.device = next(blind_sr.parameters()).device
        chosen = choose_precision(precision, self.device)
        self.precision, self.scale, self.noise = chosen.name, blind_sr.scale, blind_sr.noise
        self.bounds = None if blind_sr.G.bounds is None else blind_sr.G.bounds.float()
        self._attempts = Attempts(blind_sr, chosen, backend)

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
        return self._attempts.encode(_images(lr), tile)

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
        return self._pieces(lr, v, tile)

    def stream(
        self,
        frames: Iterable[Tensor],
        *,
        representation: Literal["each", "first"] | Tensor = "each",
        tile: Tile = "auto",
    ) -> Iterator[Tensor]:
        """SR of a stream of frames, one at a time, in order.

        On a GPU, frames on the CPU are uploaded and their results downloaded while others are computed, so that a
        result comes one frame late. Frames of one size are computed by one CUDA graph.

        Args:
            frames: LR images `[3, H, W]` as for a call, all on one device. Each must stay as it is until its result has
                come.
            representation: "each" encodes every frame. "first" encodes the first alone, and a tensor `[256]` none at
                all, which is faster, and keeps a video whose degradation doesn't change from flickering.
            tile: As for a call.

        Yields:
            `[3, H * scale, W * scale]` as from a call.
        """
        v = None
        if isinstance(representation, Tensor):
            v = self._embeddings(representation, 1)
        elif representation not in ("each", "first"):
            raise ValueError(f"Engine: representation must be each, first or a tensor [256]; got {representation!r}.")
        _check_tile(tile)
        return self._stream(map(_frame, frames), v, tile, encode_first=v is None and representation == "first")

    def _stream(
        self, frames: Iterator[Tensor], v: Tensor | None, tile: Tile, *, encode_first: bool
    ) -> Iterator[Tensor]:
        first = next(frames, None)
        if first is None:
            return
        if encode_first:
            v = self.encode(first, tile=tile)
        frames = chain((first,), frames)
        if self.device.type != "cuda" or first.device.type != "cpu":
            for frame in frames:
                yield self._assembled(frame, v, tile)
            return

        def compute(frame: Tensor) -> tuple[Tensor, Tensor]:
            sr = self._assembled(frame, v, tile, checked=False)
            return sr, sr.sum().isfinite()  # As a tensor, for which nothing waits.

        for frame, (sr, finite) in overlapped(frames, compute, CudaTransfers(self.device)):
            yield sr if finite else self._assembled(frame, v, tile)

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

    def _pieces(
        self, lr: Tensor, v: Tensor | None, tile: Tile, *, checked: bool = True
    ) -> Iterator[tuple[Place, Tensor]]:
        _check_tile(tile)
        images = _images(lr)
        given = None if v is None else self._embeddings(v, len(images))
        return self._attempts.restore(images, given, tile, checked=checked)

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
    return type_name(value.dtype) if isinstance(value, Tensor) else type(value).__name__
