"""Standard normal numbers that depend on a seed and their place alone."""

import math

import torch
from torch import Tensor

ROUNDS = 10
FACTORS, KEY_STEPS = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
WORD = 0xFFFFFFFF


def normal_numbers(seed: Tensor, count: int) -> Tensor:
    """Philox4x32-10 (Salmon et al., SC 2011) with the seed as its key, and Box and Muller's transform.

    A counter gives two pairs of words, of the radius and of the angle. Cosines of all pairs come first, then sines.

    Args:
        seed: Whole numbers of 64 bits, `[B]`.
        count: Numbers for each.

    Returns:
        `[B, count]`, float32.
    """
    pairs = (count + 1) // 2
    counter = torch.arange((pairs + 1) // 2, device=seed.device).expand(len(seed), -1)
    zero = torch.zeros_like(counter)
    key = (seed[:, None] & WORD, (seed[:, None] >> 32) & WORD)
    words = torch.stack(philox([counter & WORD, counter >> 32, zero, zero], key), 2).view(len(seed), -1, 2)
    of_radius, of_angle = words[:, :pairs].double().unbind(2)
    radius = ((((of_radius / 256).floor() + 1) / 2**24).log() * -2).sqrt()
    angle = of_angle * (2 * math.pi / 2**32)
    return torch.cat((radius * angle.cos(), radius * angle.sin()), 1)[:, :count].float()


def philox(counter: list[Tensor], key: tuple[Tensor, Tensor]) -> list[Tensor]:
    """Four words for each counter of four words and key of two, in tensors of int64."""
    for number in range(ROUNDS):
        (first, high_first), (second, high_second) = (
            _product(word, factor) for word, factor in zip(counter[::2], FACTORS, strict=True)
        )
        keys = [(word + number * step) & WORD for word, step in zip(key, KEY_STEPS, strict=True)]
        counter = [high_second ^ counter[1] ^ keys[0], second, high_first ^ counter[3] ^ keys[1], first]
    return counter


def _product(word: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Both halves, of 32 bits each, of a product that int64 couldn't hold."""
    low, high = word * (factor & 0xFFFF), word * (factor >> 16)
    low, carried = low + ((high & 0xFFFF) << 16), high >> 16
    return low & WORD, (low >> 32) + carried
