"""A network ready to run at one precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from dasr_fast.inference.folded import FoldedNetwork
from dasr_fast.inference.graphs import Capture, Function, Graphs
from dasr_fast.models import BlindSR
from dasr_fast.precision import Precision, tf32_convolutions


class Executor:
    """The folded network of a model; on NVIDIA GPUs by CUDA graphs, and with the TF32 setting of its precision.

    Args:
        model: Its weights are copied.
        precision: Of the computation.
        backend: See `dasr_fast.ops`.
    """

    def __init__(self, model: BlindSR, precision: Precision, backend: str) -> None:
        self.precision = precision
        self._network = FoldedNetwork(model, precision.dtype, backend=backend, gain=precision.gain)
        self._on_gpu = self._network.device.type == "cuda"
        self._encode: Function = self._network.encode
        self._restore: Function = self._network.restore
        if self._on_gpu:
            capture = Capture()
            self._encode, self._restore = Graphs(self._encode, capture), Graphs(self._restore, capture)

    def encode(self, lr: Tensor) -> Tensor:
        """Embeddings `[B, 256]` of LR images `[B, 3, H, W]` in 0 to 255, both float32 and on the device."""
        with self._settings():
            return self._encode(lr)

    def encode_features(self, lr: Tensor) -> Tensor:
        """The encoder's features `[B, 256, ceil(H / 4), ceil(W / 4)]` before their mean."""
        with self._settings():
            return self._network.encode_features(lr)

    def restore(self, lr: Tensor, v: Tensor) -> Tensor:
        """SR images `[B, 3, H * scale, W * scale]` for LR images and their embeddings, all float32."""
        with self._settings():
            return self._restore(lr, v)

    def release(self) -> None:
        """Give back what memory a GPU keeps for later calls."""
        for run in (self._encode, self._restore):
            if isinstance(run, Graphs):
                run.clear()
        if self._on_gpu:
            torch.cuda.empty_cache()

    def _settings(self) -> AbstractContextManager[None]:
        return tf32_convolutions(self.precision.tf32) if self._on_gpu else nullcontext()
