"""Bicubic resizing by whole factors, as the released code does it.

The weights are those of MATLAB's `imresize`. At the border it differs: pixels there are repeated outwards, where MATLAB
mirrors the image.
"""

from torch import Tensor

from dasr_fast import ops, reference
from dasr_fast.ops.checks import check_floating, check_tensor, shown

LARGEST_BLURRED = 4
"""Scale up to which `ops.blur_downsample` goes."""


def bicubic_downsample(image: Tensor, scale: int) -> Tensor:
    """Downsample with antialiasing; pixels at the border are repeated outwards. The released module `bicubic`.

    Up to scale 4 it is `ops.blur_downsample` with a kernel of one pixel, and differentiable once, as that is.

    Args:
        image: `[N, C, H, W]`, floating point.
        scale: Whole factor of at least 1.

    Returns:
        `[N, C, H // scale, W // scale]`.

    Raises:
        TypeError, ValueError: The image or the scale is another; the message says which.
    """
    _check("bicubic_downsample", image, scale)
    if min(image.shape[-2:]) < scale:
        raise ValueError(
            f"bicubic_downsample: image must be at least {scale} pixels high and wide; got {list(image.shape)}."
        )
    if scale > LARGEST_BLURRED:
        return reference.bicubic_downsample(image, scale)
    return ops.blur_downsample(image, image.new_ones(image.shape[0], 1, 1), scale)


def bicubic_upsample(image: Tensor, scale: int) -> Tensor:
    """Upsample: the baseline of the paper's Table 2, the released module `bicubic` called with a factor above 1.

    Args:
        image: `[N, C, H, W]`, floating point.
        scale: Whole factor of at least 1.

    Returns:
        `[N, C, H * scale, W * scale]`.

    Raises:
        TypeError, ValueError: The image or the scale is another; the message says which.
    """
    _check("bicubic_upsample", image, scale)
    return reference.bicubic_upsample(image, scale)


def _check(name: str, image: Tensor, scale: int) -> None:
    check_tensor(name, "image", image)
    if image.dim() != 4 or 0 in image.shape[2:]:
        raise ValueError(f"{name}: image must be [N, C, H, W]; got {list(image.shape)}.")
    check_floating(name, "image", image)
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ValueError(f"{name}: scale must be a whole number of at least 1; got {shown(scale)}.")
