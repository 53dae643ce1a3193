"""Inputs and outputs of the released DASR code, and the parameter values that went with them; see README.md."""

import json
import zlib
from collections.abc import Callable
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dasr_fast.models import MoCo

FOLDER = Path(__file__).parent


def arrays(name: str) -> dict[str, Tensor]:
    """All arrays of `<name>.npz` as tensors."""
    with np.load(FOLDER / f"{name}.npz") as content:
        return {key: torch.from_numpy(content[key]) for key in content}


def table(name: str) -> Any:
    """Content of `<name>.json`."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def parameter(name: str, shape: tuple[int, ...]) -> Tensor:
    """The value that the parameter or buffer called `name` has in every fixture."""
    random = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    value = random.standard_normal(shape).astype(np.float32)
    kind = name.split(".")[-1]
    if kind == "running_var":
        value = 1 + 0.1 * np.abs(value)
    elif kind in ("running_mean", "bias"):
        value = 0.01 * value
    elif value.ndim == 1:
        value = 1 + 0.1 * value
    elif kind == "queue":
        value = value / np.linalg.norm(value, axis=0, keepdims=True)
    else:
        value = value * np.float32(0.7) / np.sqrt(np.prod(shape[1:]), dtype=np.float32)
    return torch.from_numpy(value.astype(np.float32))


def fill(module: nn.Module) -> nn.Module:
    """Give a module the fixtures' values: everything floating but the mean shifts."""
    state = {
        name: parameter(name, tuple(value.shape))
        for name, value in module.state_dict().items()
        if value.is_floating_point() and "_mean." not in name
    }
    module.load_state_dict(state, strict=False)
    return module


def filled_moco() -> MoCo:
    """The `MoCo` of `contrastive.npz` before its step: encoders that differ, a pointer near the end of the queue."""
    moco = MoCo().train()
    fill(moco)
    moco.copy_query_to_key()
    moco.queue_ptr.fill_(8188)
    with torch.no_grad():
        for weight in moco.encoder_q.parameters():
            weight.mul_(1.05)
    return moco


def error(result: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest magnitude that is expected."""
    assert result.shape == expected.shape
    return ((result - expected).abs().max() / expected.abs().max()).item()


def gradient_error(step: Callable[[MoCo], object]) -> float:
    """Error of the first convolution's gradient after `step(filled_moco())`, a step of `contrastive.npz`.

    The sign of a number that is rounding away from 0 differs from CPU to CPU, and with it a LeakyReLU's gradient. So
    each choice of these signs is tried, and the best counts.
    """

    def gradient(flipped: tuple[str, ...]) -> tuple[Tensor, list[str]]:
        """The gradient, and the activations with an input near 0; in those that are `flipped` it changes its sign."""
        moco, doubtful = filled_moco(), []

        def look(name: str, x: Tensor) -> Tensor:
            near = x.abs() < 2e-6
            if near.any():
                doubtful.append(name)
            return x - torch.where(near, 2 * x.detach(), 0) if name in flipped else x

        for name, module in moco.encoder_q.named_modules():
            if isinstance(module, nn.LeakyReLU):
                module.register_forward_pre_hook(lambda _, inputs, name=name: look(name, inputs[0]))
        step(moco)
        return moco.encoder_q.E[0].weight.grad, doubtful

    doubtful = gradient(())[1]
    assert len(doubtful) <= 3
    choices = chain.from_iterable(combinations(doubtful, count) for count in range(len(doubtful) + 1))
    return min(error(gradient(flipped)[0], arrays("contrastive")["moco/grad_conv0"]) for flipped in choices)
