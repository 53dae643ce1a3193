"""What everything is compared with: a checkout of the released code, or its operations written anew."""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from tests.released import ops
from tests.released.network import Blind

FILES = ("model/blindsr.py", "moco/builder.py", "utils/util.py")
"""What is needed of a checkout."""


@dataclass(frozen=True)
class Baseline:
    """An implementation to compare with.

    Attributes:
        description: What it is.
        network: The whole model at a scale, with random weights, on the CPU.
        degradation: From HR patches `[B, N, 3, H, W]` in float32 to LR patches, at a scale, with anisotropic kernels
            and noise levels up to 25, drawn anew at each call.
        running: A context in which the network must be called.
    """

    description: str
    network: Callable[[int], nn.Module]
    degradation: Callable[[int], Callable[[Tensor], Tensor]]
    running: Callable[[], AbstractContextManager[Any]] = nullcontext


class NoCheckoutError(ValueError):
    """The folder isn't a checkout of the released code."""


def find_baseline(reference: Path | None, device: str) -> Baseline:
    """The checkout at `reference`, or without one what this project has written with the same operations.

    Raises:
        NoCheckoutError: There is no such checkout.
    """
    if reference is None:
        return Baseline(
            "plain PyTorch with the operations of the released code",
            Blind,
            lambda scale: partial(ops.degrade, scale=scale, noise=25.0),
        )
    check_checkout(reference)
    running = _without_gpu if device == "cpu" else nullcontext
    with _importable(reference):
        try:
            blindsr, util = (importlib.import_module(name) for name in ("model.blindsr", "utils.util"))
        except ImportError as error:
            raise NoCheckoutError(f"The released code at {reference} can't be imported: {error}.") from error

    def network(scale: int) -> nn.Module:
        with running():
            return blindsr.BlindSR(SimpleNamespace(scale=[scale]))

    def degradation(scale: int) -> ReleasedDegradation:
        return ReleasedDegradation(util.SRMDPreprocessing(scale, blur_type="aniso_gaussian", noise=25.0), running)

    return Baseline("the released code", network, degradation, running)


def check_checkout(reference: Path) -> None:
    """Look for the files that are needed.

    Raises:
        NoCheckoutError: One isn't there.
    """
    missing = [name for name in FILES if not (reference / name).is_file()]
    if missing:
        raise NoCheckoutError(f"{reference} is no checkout of the released code: there is no {missing[0]}.")


class ReleasedDegradation:
    """A released `SRMDPreprocessing`, from HR patches to LR patches alone."""

    def __init__(self, preprocessing: Any, running: Callable[[], AbstractContextManager[Any]]) -> None:
        self.preprocessing, self.running = preprocessing, running

    def __call__(self, hr: Tensor) -> Tensor:
        with self.running():
            return self.preprocessing(hr)[0]


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """`folder` on the path. What is imported from it stays in `sys.modules`, where `torch.compile` looks it up."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))


@contextmanager
def _without_gpu() -> Iterator[None]:
    """Let `.cuda()`, which the released code calls wherever it runs, leave tensors and modules where they are."""
    with ExitStack() as patches:
        for kind in (torch.Tensor, nn.Module):
            patches.enter_context(mock.patch.object(kind, "cuda", lambda self, *_, **__: self))
        yield
