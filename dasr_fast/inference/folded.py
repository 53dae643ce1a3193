"""The networks of `BlindSR` rearranged for inference: the same function with fewer operations and passes."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from dasr_fast.inference.block import CopiedBlock, FoldedBlock
from dasr_fast.inference.convolution import Convolution
from dasr_fast.inference.kernels_and_gates import KernelsAndGates
from dasr_fast.models import BlindSR
from dasr_fast.models.bounds import drawn_inside
from dasr_fast.models.encoder import DegradationEncoder
from dasr_fast.nn.collapsed_tail import FixedTail
from dasr_fast.ops.registration import without_autocast
from dasr_fast.reference.layout import accumulation_dtype


class FoldedNetwork:
    """What `BlindSR` computes in evaluation mode, by a copy of its weights arranged for speed.

    Batch normalisation is folded into the encoder's convolutions, the kernels and gates of all DA convolutions are
    computed together, half a DA block is one op, activations and sums are part of the convolution before them, the
    tail is one convolution, and all features are channels-last. Later changes of the model don't matter, nor does its
    mode.

    Args:
        model: On any device.
        dtype: Type of the features: float32, float16, bfloat16 or float64.
        backend: See `dasr_fast.ops`. What it has no op for is PyTorch's.
        gain: A power of two by which features of the SR network are scaled, against overflow in float16. The network
            is positively homogeneous in features and biases together, so that the result is the same.
    """

    def __init__(
        self, model: BlindSR, dtype: torch.dtype = torch.float32, *, backend: str = "auto", gain: float = 1.0
    ) -> None:
        network: Any = model.G
        self.scale, self.dtype, self.device = model.scale, dtype, next(model.parameters()).device
        self._wide = accumulation_dtype(dtype)
        self._encoder = [
            Convolution(
                *_fold_batch_norm(convolution, norm),
                stride=convolution.stride[0],
                negative_slope=activation.negative_slope,
                dtype=dtype,
                backend=backend,
            )
            for convolution, norm, activation in _layers(model.E.encoder_q)
        ]
        self._sub_mean = copy.deepcopy(network.sub_mean).requires_grad_(False).to(self._wide)
        self._sub_mean.weight.mul_(gain)
        self._sub_mean.bias.mul_(gain)
        self._bounds = None if network.bounds is None else network.bounds.to(self._wide, copy=True)
        self._compress = copy.deepcopy(network.compress).requires_grad_(False).to(self._wide)
        self._head = Convolution.of(network.head[0], dtype=dtype, backend=backend, gain=gain)
        self._groups = [
            (
                [
                    (FoldedBlock if FoldedBlock.covers(block) else CopiedBlock)(block, dtype, backend, gain)
                    for block in group.body[:-1]
                ],
                Convolution.of(group.body[-1], dtype=dtype, backend=backend, gain=gain),
            )
            for group in network.body[:-1]
        ]
        self._body_end = Convolution.of(network.body[-1], dtype=dtype, backend=backend, gain=gain)
        folded = [block for group in network.body[:-1] for block in group.body[:-1] if FoldedBlock.covers(block)]
        da_convs = [layer for block in folded for layer in (block.da_conv1, block.da_conv2)]
        self._kernels_and_gates = KernelsAndGates(da_convs, dtype)
        self._tail = FixedTail([*network.tail[0], network.tail[1], network.add_mean], dtype, gain)

    def encode(self, lr: Tensor) -> Tensor:
        """Embeddings `[B, 256]` of LR images as for `encode_features`, float32 (float64 from float64)."""
        features = self.encode_features(lr)
        with self._inference():
            return features.mean((2, 3), dtype=self._wide)

    def encode_features(self, lr: Tensor) -> Tensor:
        """The encoder's features `[B, 256, ceil(ceil(H / 2) / 2), ceil(ceil(W / 2) / 2)]` before the mean over pixels.

        LR images are `[B, 3, H, W]` in 0 to 255, of any floating type, on the network's device; the features are of the
        network's type, channels-last.
        """
        with self._inference():
            x = lr.to(self.dtype, memory_format=torch.channels_last)
            for convolution in self._encoder:
                x = convolution(x)
            return x

    def restore(self, lr: Tensor, v: Tensor) -> Tensor:
        """SR images `[B, 3, H * scale, W * scale]` for LR images and embeddings `[B, 256]` of any floating type.

        They are contiguous, float32 (float64 from float64), neither rounded nor clamped.
        """
        with self._inference():
            v = v.to(self._wide)
            v = self._compress(v if self._bounds is None else drawn_inside(v, self._bounds))
            modulations = iter(self._kernels_and_gates(v))
            x = y = self._head(self._sub_mean(lr.to(self._wide)).to(self.dtype, memory_format=torch.channels_last))
            for blocks, end in self._groups:
                z = y
                for block in blocks:
                    z = block(z, v, modulations)
                y = end(z, residual=y)
            return self._tail(self._body_end(y, residual=x))

    @contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients, and no other types than the network's own."""
        with torch.inference_mode(), without_autocast(self.device.type):
            yield


def _layers(encoder: DegradationEncoder) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d, nn.LeakyReLU]]:
    """The encoder's convolutions with what follows each."""
    layers: Iterator[Any] = iter(encoder.E)
    for convolution in layers:
        if isinstance(convolution, nn.Conv2d):
            yield convolution, next(layers), next(layers)


def _fold_batch_norm(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias, in float64, of a convolution that does what both do in evaluation mode."""
    folded = fuse_conv_bn_eval(copy.deepcopy(convolution).double().eval(), copy.deepcopy(norm).double().eval())
    assert folded.bias is not None
    return folded.weight, folded.bias
