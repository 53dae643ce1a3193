"""Randomness of an image that depends on its name, not on the images before it."""

import zlib

import torch


def image_generator(name: str, seed: int = 0) -> torch.Generator:
    """A CPU generator for the image called `name` (without folder), for any whole `seed`."""
    # The CPU's generator takes 32 bits of its seed.
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode(errors="surrogateescape")))
