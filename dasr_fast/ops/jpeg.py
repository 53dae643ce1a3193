"""The op `jpeg`: every image compressed and decompressed, with a quality and a subsampling of its sample."""

from typing import Any

import torch
from torch import Tensor

from dasr_fast import reference
from dasr_fast.ops.backends import Asked
from dasr_fast.ops.checks import check_device, check_floating, check_shape, check_tensor, dimensions, shown
from dasr_fast.ops.op import Op
from dasr_fast.reference.layout import image_format
from dasr_fast.torch_state import needs_gradient

_NAME = "jpeg"


def _fake(image: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(image, memory_format=image_format(image))


OP = Op(_NAME, {}, fake=_fake)


def jpeg(image: Tensor, quality: float | Tensor, *, subsampling: int | Tensor = 2, backend: Asked = "auto") -> Tensor:
    """What decoding an image gives after it was encoded as JPEG, as libjpeg-turbo does both by default.

    Equal to the last bit to what Pillow writes and reads: standard tables, accurate integer transform, "fancy"
    interpolation of chroma. Nothing waits for a GPU. Differentiable in `image`: every rounding passes gradients on.
    Autocast leaves it alone.

    Args:
        image: RGB `[B, 3, H, W]` or `[B, N, 3, H, W]` (N patches of a sample), floating point in 0 to 255 or uint8;
            it is rounded to whole grey levels first.
        quality: 1 to 100: a number, or `[B]`. It is rounded to a whole number, and clamped in tensors.
        subsampling: Of chroma, numbered as in Pillow: 0 (4:4:4), 1 (4:2:2) or 2 (4:2:0): a number, or whole numbers
            `[B]`.
        backend: "auto", the name of one, or several, of which the first that can computes; see `dasr-fast doctor`.

    Returns:
        Whole numbers in 0 to 255 in the shape, type and memory format of `image`.

    Raises:
        TypeError: An argument has a wrong type.
        ValueError: A shape, device, number or backend name is wrong.
        RuntimeError: The backend asked for can't run.
    """
    check_tensor(_NAME, "image", image)
    if image.dtype != torch.uint8:
        check_floating(_NAME, "image", image)
    if image.dim() not in (4, 5) or image.shape[-3] != 3:
        raise ValueError(f"{_NAME}: image must be [B, N, 3, H, W] or [B, 3, H, W]; got {list(image.shape)}.")
    sizes = {"B": image.shape[0]}
    if isinstance(quality, Tensor):
        check_shape(_NAME, "quality", quality, dimensions("B"), sizes)
        check_device(_NAME, "quality", quality, image, "image")
    elif isinstance(quality, bool) or not isinstance(quality, (int, float)) or not 1 <= quality <= 100:
        raise ValueError(f"{_NAME}: quality must be a number from 1 to 100, or a tensor; got {shown(quality)}.")
    else:
        quality = torch.full(image.shape[:1], float(quality), device=image.device)
    if isinstance(subsampling, Tensor):
        if subsampling.is_floating_point() or subsampling.is_complex():
            raise TypeError(f"{_NAME}: subsampling must hold whole numbers; got {str(subsampling.dtype)[6:]}.")
        check_shape(_NAME, "subsampling", subsampling, dimensions("B"), sizes)
        check_device(_NAME, "subsampling", subsampling, image, "image")
    elif isinstance(subsampling, bool) or subsampling not in (0, 1, 2):
        raise ValueError(f"{_NAME}: subsampling must be 0, 1 or 2, or a tensor; got {shown(subsampling)}.")
    else:
        subsampling = torch.full(image.shape[:1], subsampling, device=image.device)
    quality, subsampling = quality.detach().float(), subsampling.long()
    if needs_gradient(image):
        return reference.jpeg(image, quality, subsampling)
    return OP.compute(backend, image, quality, subsampling)
