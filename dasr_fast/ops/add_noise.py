"""The op `add_noise`: Gaussian or Poisson noise made of normal numbers."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast import reference
from dasr_fast.ops.backends import Asked
from dasr_fast.ops.checks import check_alike, check_flag, check_floating, check_shape, check_tensor, dimensions, shown
from dasr_fast.ops.op import Op
from dasr_fast.reference.layout import image_format
from dasr_fast.torch_state import needs_gradient

_NAME = "add_noise"


def _fake(image: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(image, memory_format=image_format(image))


OP = Op(_NAME, {}, fake=_fake)


def add_noise(image: Tensor, noise: Tensor, level: float, poisson: bool = False, *, backend: Asked = "auto") -> Tensor:
    """Add Gaussian noise, or noise of photons, and clamp to 0 to 255.

    Differentiable in `image`, counts of photons being constants. Autocast leaves it alone.

    Args:
        image: `[B, C, H, W]` or `[B, N, C, H, W]`, floating point, in 0 to 255.
        noise: Standard normal numbers of the type of `image`: of its shape, or with one channel for grey noise.
        level: Factor of the noise: the standard deviation in grey levels, if it isn't Poisson noise.
        poisson: Whether the noise is that of 256 photons of a white pixel: counts of the Poisson distribution that lie
            where the normal numbers do in theirs. Grey noise is that of the luma (ITU-R BT.601), or of the mean of
            other than three channels.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        Images in the shape, type and memory format of `image`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A shape, device, number or backend name is wrong, or the noise asks for a gradient.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(_NAME, "image", image)
    check_tensor(_NAME, "noise", noise)
    check_floating(_NAME, "image", image)
    if image.dim() not in (4, 5) or image.shape[-3] == 0:
        raise ValueError(f"{_NAME}: image must be [B, N, C, H, W] or [B, C, H, W]; got {list(image.shape)}.")
    names = "BNCHW" if image.dim() == 5 else "BCHW"
    grey = noise.dim() == image.dim() and noise.shape[-3] == 1
    expected = dimensions(" ".join("1" if grey and name == "C" else name for name in names))
    check_shape(_NAME, "noise", noise, expected, dict(zip(names, image.shape, strict=True)))
    check_alike(_NAME, "noise", noise, image, "image")
    if isinstance(level, bool) or not isinstance(level, (int, float)):
        raise TypeError(f"{_NAME}: level must be a number; got {shown(level)}.")
    check_flag(_NAME, "poisson", poisson)
    if needs_gradient(noise):
        raise ValueError(f"{_NAME}: noise has no gradient here; detach it.")
    if needs_gradient(image):
        return reference.add_noise(image, noise, level, bool(poisson))
    return OP.compute(backend, image, noise, float(level), bool(poisson))
