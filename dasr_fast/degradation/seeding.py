"""Randomness of an image that depends on its name, not on the images before it."""

import zlib

import torch


def image_generator(name: str, seed: int = 0) -> torch.Generator:
    """A CPU generator for the image called `name` (without folder), for any whole `seed` from 0 to 2^31 - 1."""
    return torch.Generator().manual_seed(seed * 2**32 + zlib.crc32(name.encode()))
