"""Further scores of restored images, by the library pyiqa: LPIPS, DISTS, NIQE and some seventy more."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

Metric = Callable[[Tensor, Tensor], float]
"""Takes SR and HR `[3, H, W]` in 0 to 255."""


def find_metric(name: str, device: torch.device | str = "cpu", *, download: bool = False) -> Metric:
    """A metric by pyiqa's name for it, such as "lpips" or "niqe"; those without reference look at SR alone.

    Args:
        name: See `pyiqa.list_models()`.
        device: Where to compute.
        download: Whether pyiqa may download the weights of a metric that aren't in its cache.

    Raises:
        ImportError: pyiqa isn't installed, or can't be used.
        ValueError: There is no such metric, or its weights aren't here.
    """
    try:
        import pyiqa
    except (ImportError, RuntimeError) as error:  # torchvision raises the latter if it is for another PyTorch.
        raise ImportError(
            f"The metric {name} needs the package pyiqa (pip install 'dasr-fast[scores]'): {error}."
        ) from None
    if name not in pyiqa.list_models():
        raise ValueError(f"There is no metric {name}; pyiqa has {', '.join(pyiqa.list_models())}.")
    try:
        with nullcontext() if download else _offline():
            metric = pyiqa.create_metric(name, device=torch.device(device))
    except (OSError, RuntimeError, ValueError) as error:
        if download:
            raise
        raise ValueError(
            f"The metric {name} can't be made without downloads; with --download pyiqa may fetch its weights."
        ) from error

    def score(sr: Tensor, hr: Tensor) -> float:
        images = [x[None].to(device=device, dtype=torch.float32) / 255 for x in (sr, hr)]
        with torch.inference_mode():
            found: Any = metric(*(images if metric.metric_mode == "FR" else images[:1]))
        return float(found)

    return score


@contextmanager
def _offline() -> Iterator[None]:
    """Let no connection be made in this block, by whatever library, and nothing printed of downloads."""

    def refuse(*_: object) -> None:
        raise ConnectionRefusedError("Downloads weren't asked for.")

    with (
        patch.object(socket.socket, "connect", refuse),
        patch.object(socket, "getaddrinfo", refuse),
        redirect_stdout(StringIO()),
        redirect_stderr(StringIO()),
    ):
        yield
