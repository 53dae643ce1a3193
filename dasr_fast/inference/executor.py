"""A network ready to run at one precision."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from dasr_fast.cuda_graph import CudaCapture
from dasr_fast.inference.folded import FoldedNetwork
from dasr_fast.inference.graph_cache import Function, GraphCache
from dasr_fast.models import BlindSR
from dasr_fast.precision import Precision, tf32_convolutions


class Executor:
    """The folded network of a model, by CUDA graphs and with its precision's TF32 setting on NVIDIA GPUs."""

    def __init__(self, model: BlindSR, precision: Precision, backend: str) -> None:
        self.precision = precision
        self._network = FoldedNetwork(model, precision.dtype, backend=backend, gain=precision.gain)
        on_gpu = self._network.device.type == "cuda"
        self._graphs = GraphCache(CudaCapture()) if on_gpu else None

    def encode(self, lr: Tensor) -> Tensor:
        """Embeddings `[B, 256]` of LR images `[B, 3, H, W]` in 0 to 255, both float32 and on the device."""
        return self._run(self._network.encode, lr)

    def encode_features(self, lr: Tensor) -> Tensor:
        """The encoder's features `[B, 256, ceil(H / 4), ceil(W / 4)]` before their mean."""
        with self._settings():
            return self._network.encode_features(lr)

    def restore(self, lr: Tensor, v: Tensor) -> Tensor:
        """SR images `[B, 3, H * scale, W * scale]` for LR images and their embeddings, all float32."""
        return self._run(self._network.restore, lr, v)

    def release(self) -> bool:
        """Give back what memory a GPU keeps for later calls; returns whether CUDA graphs held some."""
        if self._graphs is None:
            return False
        held = self._graphs.clear()
        torch.cuda.empty_cache()
        return held

    def _run(self, function: Function, *inputs: Tensor) -> Tensor:
        with self._settings():
            return function(*inputs) if self._graphs is None else self._graphs(function, *inputs)

    def _settings(self) -> AbstractContextManager[None]:
        return nullcontext() if self._graphs is None else tf32_convolutions(self.precision.tf32)
