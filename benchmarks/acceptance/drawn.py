"""Calls of ops with random shapes, types and layouts: a number gives always the same one."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests.specification import SPECIFICATIONS, Case

MOST = 2**18
"""Elements of the first input at most."""

CHANNELS = (16, 17, 32, 64, 64, 128, 180, 256)
FEATURES = ("dynamic_depthwise_conv", "channel_modulation", "da_conv", "conv3x3")


def _surrounded(x: Tensor) -> Tensor:
    """A larger tensor, NaN around `x`."""
    return torch.nn.functional.pad(x, (1, 2, 2, 1), value=torch.nan)


LAYOUTS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "contiguous": torch.Tensor.contiguous,
    "channels-last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),
    "sliced": lambda x: _surrounded(x)[..., 2:-1, 1:-2],
}


@dataclass(frozen=True)
class Drawn:
    """A call.

    Attributes:
        number: That gives it.
        op: Name of the op.
        case: Shapes and options.
        dtype: Of the first tensor; the others have it too, or float32 if it is uint8.
        layout: Of features.
    """

    number: int
    op: str
    case: Case
    dtype: torch.dtype
    layout: str

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} {list(shape)}" for name, shape in self.case.tensors.items() if shape is not None)
        options = ", ".join(f"{name} {value}" for name, value in self.case.options.items())
        return f"number {self.number}: {self.op}, {str(self.dtype)[6:]}, {self.layout}: {shapes}; {options}"

    def arguments(self, device: str, values: int = 0) -> dict[str, Any]:
        """Arguments of the op; `values` gives others of the same shapes."""
        wide = SPECIFICATIONS[self.op].arguments(self.case, torch.float32, device, seed=self.number + 1000003 * values)
        first = next(iter(wide))
        others = self.dtype if self.dtype.is_floating_point else torch.float32

        def typed(name: str, value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            value = value.to(self.dtype if name == first else others)
            return LAYOUTS[self.layout](value) if name in (first, "residual") and value.dim() == 4 else value

        return {name: typed(name, value) for name, value in wide.items()}


def draw(number: int) -> Drawn:
    """The call of a number."""
    chance = random.Random(number)
    op = chance.choice([*FEATURES, *FEATURES, "da_half_block", "da_half_block", "blur_downsample", "blur_downsample"])
    if op == "blur_downsample":
        return _images(number, chance)
    half_block = op == "da_half_block"
    dtype = chance.choice([torch.float16, torch.bfloat16, *([] if half_block else [torch.float32])])
    layout = "channels-last" if half_block else chance.choice(list(LAYOUTS))
    return Drawn(number, op, _half_block(chance) if half_block else _features(op, chance), dtype, layout)


def _side(chance: random.Random) -> int:
    return chance.choice([chance.randint(1, 9), chance.randint(10, 40), chance.randint(41, 130)])


def _sizes(chance: random.Random, channels: int) -> tuple[int, int, int, int]:
    b, h, w = chance.choice([0, 1, 1, 2, 3, 5]), _side(chance), _side(chance)
    while b * channels * h * w > MOST:
        h, w = (h + 1) // 2, (w + 1) // 2
    return b, channels, h, w


def _slope(chance: random.Random) -> float:
    return chance.choice([0.1, 0.1, 0.2, 0.0, 1.0])


def _features(op: str, chance: random.Random) -> Case:
    x = b, c, _, _ = _sizes(chance, chance.choice([chance.randint(1, 9), *CHANNELS]))
    k = chance.choice([1, 3, 3, 5, 7])
    out, some = chance.choice([c, c, chance.randint(1, 70)]), chance.random() < 0.7
    if op == "dynamic_depthwise_conv":
        return Case("", {"x": x, "kernel": (b, c, k, k)}, {"negative_slope": chance.choice([None, _slope(chance)])})
    if op == "channel_modulation":
        return Case("", {"x": x, "gate": (b, c), "residual": x if some else None})
    if op == "conv3x3":
        slope = chance.choice([None, _slope(chance)])
        residual = (b, out, *x[2:]) if slope is None and some else None
        tensors = {"x": x, "weight": (out, c, 3, 3), "bias": (out,) if some else None, "residual": residual}
        return Case("", tensors, {"negative_slope": slope})
    pointwise = {
        "weight": (out, c),
        "bias": (out,) if some else None,
        "gate": (b, c) if out == c and chance.random() < 0.7 else None,
    }
    options = {"negative_slope": _slope(chance), "activate": chance.random() < 0.5}
    return Case("", {"x": x, "kernel": (b, c, k, k), **pointwise}, options)


def _half_block(chance: random.Random) -> Case:
    x = b, c, _, _ = _sizes(chance, 64)
    bias, gate, residual = (chance.random() < 0.7 for _ in range(3))
    tensors: dict[str, tuple[int, ...] | None] = {
        "x": x,
        "kernel": (b, c, 3, 3),
        "weight": (c, c),
        "bias": (c,) if bias else None,
        "gate": (b, c) if gate else None,
        "conv_weight": (c, c, 3, 3),
        "conv_bias": (c,) if bias else None,
        "residual": x if residual else None,
    }
    # With both, the sum hides which side of its LeakyReLU a feature was on.
    return Case("", tensors, {"negative_slope": _slope(chance), "activate": not residual and chance.random() < 0.5})


def _images(number: int, chance: random.Random) -> Drawn:
    b, n, c = chance.choice([0, 1, 1, 2, 3]), chance.randint(1, 2), chance.choice([1, 3])
    k, scale = (chance.choice([chance.randint(1, 9), 21, 21]) for _ in range(2)), chance.randint(1, 4)
    kh, kw = k
    h, w = (max(_side(chance), scale, taps // 2 + 1) for taps in (kh, kw))
    hr = (b, n, c, h, w) if chance.random() < 0.7 else (b, c, h, w)
    options = {"scale": scale, "mode": chance.choice(["bicubic", "bicubic", "s-fold"])}
    dtype = chance.choice([torch.float32, torch.float32, torch.uint8, torch.float16])
    return Drawn(number, "blur_downsample", Case("", {"hr": hr, "kernel": (b, kh, kw)}, options), dtype, "contiguous")
