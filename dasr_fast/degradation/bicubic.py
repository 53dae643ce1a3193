"""Bicubic resizing by whole factors as MATLAB's `imresize` does it."""

from torch import Tensor

from dasr_fast import reference


def bicubic_downsample(image: Tensor, scale: int) -> Tensor:
    """Downsample with antialiasing; indices are clamped at the edge. The released module `bicubic`.

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
    return reference.bicubic_downsample(image, scale)


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
    if image.dim() != 4 or 0 in image.shape[2:]:
        raise ValueError(f"{name}: image must be [N, C, H, W]; got {list(image.shape)}.")
    if not image.is_floating_point():
        raise TypeError(f"{name}: image must be floating point; got {str(image.dtype).removeprefix('torch.')}.")
    if isinstance(scale, bool) or not isinstance(scale, int) or scale < 1:
        raise ValueError(f"{name}: scale must be a whole number of at least 1; got {scale}.")
