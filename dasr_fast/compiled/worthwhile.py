"""From which sizes on a 3x3 convolution in C++ is faster than PyTorch's, as measured with AVX2 and AVX-512."""

FEWEST_CHANNELS = 16
"""Channels of the features; below, transforming tiles takes longer than PyTorch's whole convolution."""


def fewest_pixels(channels: int, channels_out: int) -> int:
    """Pixels of a batch.

    With fewer of them weights are transformed in vain, or PyTorch's convolution, which is called with less ado, has
    finished before.
    """
    return max(6 * channels_out, 2_000_000 // (9 * channels * channels_out))
