"""Bounds of the embeddings that the SR network was trained with, and how others are brought inside."""

import json

import torch
from torch import Tensor


def make_bounds(embeddings: Tensor, margin: float) -> Tensor:
    """Bounds `[3, D]` of embeddings `[N, D]`: least, mean and largest of each channel.

    Each bound lies farther out than the outermost embedding, by the part `margin` of that one's distance to the mean.
    """
    mean = embeddings.mean(0)
    # A channel that never varied still needs room, or rounding would count as a departure.
    reach = [(1 + margin) * (limit - mean).abs() + 1e-3 for limit in (embeddings.amin(0), embeddings.amax(0))]
    return torch.stack((mean - reach[0], mean, mean + reach[1]))


def departure(v: Tensor, bounds: Tensor) -> Tensor:
    """How many times farther from the mean than the bounds in its direction each embedding `[B, D]` is, `[B, 1]`."""
    lower, mean, upper = bounds.to(v.dtype).unbind()
    away = v - mean
    return (away / (torch.where(away > 0, upper, lower) - mean)).amax(1, keepdim=True)


def drawn_inside(v: Tensor, bounds: Tensor) -> Tensor:
    """Embeddings `[B, D]`, of which those outside the bounds are drawn straight towards the mean until they are inside.

    Those inside stay as they are, to the bit. Nothing waits for the device.
    """
    outside = departure(v, bounds)
    mean = bounds[1].to(v.dtype)
    return torch.where(outside > 1, mean + (v - mean) / outside, v)


def to_text(bounds: Tensor) -> str:
    """Bounds as JSON, for the metadata of a file."""
    return json.dumps([[float(f"{x:.6g}") for x in row] for row in bounds.tolist()])


def from_text(text: str, width: int) -> Tensor:
    """Bounds `[3, width]` from JSON.

    Raises:
        ValueError: The text isn't JSON, or holds no such bounds.
    """
    try:
        bounds = torch.tensor(json.loads(text), dtype=torch.float32, device="cpu")
    except (TypeError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    ordered = bounds.shape == (3, width) and (bounds[0] < bounds[1]).all() and (bounds[1] < bounds[2]).all()
    if not ordered or not bounds.isfinite().all():
        raise ValueError(f"bounds must be [3, {width}], finite and in ascending order")
    return bounds
