"""What is compared: a work, and those that do it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

BASELINE = "released"
"""Name of the contender that the others are compared with."""

TOLERANCE = {"float32": 1e-5, "tf32": 5e-3, "float16": 5e-3, "bfloat16": 4e-2}
"""Largest error (see `contender.difference`) of a network or an op that counts as right, by what it computes in."""


class AbsentError(Exception):
    """This machine lacks what a contender needs; the message says what, in one sentence without a full stop."""


Inputs = tuple[Any, ...]
Call = Callable[..., Any]

PHOTO = Path(__file__).resolve().parents[1] / "photo.jpg"


def rounding(device: str, dtype: str) -> str:
    """What `dtype` is computed in: on a GPU PyTorch's convolutions in float32 are in TensorFloat-32."""
    return "tf32" if device == "cuda" and dtype == "float32" else dtype


@dataclass(frozen=True)
class Settings:
    """What a run compares.

    Attributes:
        device: "cpu" or "cuda".
        quick: A few works, in less than a minute and a half on two cores.
        everything: All sizes and contenders, however long they take on this device.
        reference: A checkout of the released code; None for its operations written anew.
        image: A photograph.
        sizes, scales, batches: LR widths and heights, scales and batches to keep to, if any.
        without: Parts of names of contenders to leave out.
        folder: What processes share, such as the network in ONNX's format; it exists.
    """

    device: str = "cpu"
    quick: bool = False
    everything: bool = False
    reference: Path | None = None
    image: Path = PHOTO
    sizes: tuple[tuple[int, int], ...] = ()
    scales: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()
    without: tuple[str, ...] = ()
    folder: Path = Path()

    def tolerance(self, dtype: str = "float32") -> float:
        """That of `TOLERANCE`."""
        return TOLERANCE[rounding(self.device, dtype)]


@dataclass(frozen=True)
class Contender:
    """One way to do a work.

    Attributes:
        make: Builds what is called with the work's inputs. Whatever it raises is why this way fails; `AbsentError`, and
            that a package isn't installed, why it is absent.
        arrange: Lays out the inputs as this way has them, before its time begins.
        dtype: What it computes in, which decides on its tolerance and its ceiling.
        other: How its result differs by design, if it is another function; its error then doesn't count.
    """

    make: Callable[[], Call]
    arrange: Callable[[Inputs], Inputs] = lambda inputs: inputs
    dtype: str = "float32"
    other: str = ""


def _tensors(output: Any) -> Sequence[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


@dataclass(frozen=True)
class Work:
    """Something to compute. Nothing is drawn or built before a function is called.

    Attributes:
        suite: Name of the suite.
        label: What is computed, with sizes.
        inputs: Draws the inputs on the device, always the same.
        contenders: By name, one of them `BASELINE`.
        expected: From inputs on the device to the results in float64; None where contenders draw random numbers.
        tolerance: Largest error of a contender that counts as right, by its `dtype`.
        read: From what a contender's first call returned to the tensors that are compared with the expected ones.
        operations: Counts multiplications and additions as the released code does them, if they can be counted.
        bytes_moved: Fewest bytes that it can move, if counted.
        pixels: LR pixels of all images, if it is about images.
        timed: Whether times are measured, or else memory.
    """

    suite: str
    label: str
    inputs: Callable[[], Inputs]
    contenders: Mapping[str, Contender]
    expected: Callable[..., Any] | None
    tolerance: Callable[[str], float]
    read: Callable[[Any], Sequence[Tensor]] = _tensors
    operations: Callable[[], int] | None = None
    bytes_moved: int | None = None
    pixels: int | None = None
    timed: bool = True


def contiguous(inputs: Inputs) -> Inputs:
    """All tensors in that memory format."""
    return tuple(x.contiguous() if isinstance(x, Tensor) else x for x in inputs)


def channels_last(inputs: Inputs) -> Inputs:
    """Features and images `[B, C, H, W]` in that memory format; filters of k x k (k < 8) and all else as they are."""
    return tuple(
        x.contiguous(memory_format=torch.channels_last)
        if isinstance(x, Tensor) and x.dim() == 4 and x.shape[-1] > 7
        else x
        for x in inputs
    )
