"""Image files in and out: 8 and 16 bits, grey or RGB, alpha, orientation, colour profile and other metadata.

libvips decodes and encodes; nothing here interprets pixels beyond that.
"""

from dasr_fast.images.picture import Frames, ImageError, ImageWarning, Picture, Pixels
from dasr_fast.images.reading import read_frames, read_image
from dasr_fast.images.writing import check_format, resized, write_frames, write_image

__all__ = [
    "Frames",
    "ImageError",
    "ImageWarning",
    "Picture",
    "Pixels",
    "check_format",
    "read_frames",
    "read_image",
    "resized",
    "write_frames",
    "write_image",
]
