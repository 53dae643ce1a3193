"""What a camera does between its sensor and a picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.degradation.part import Draws, Parameters, Part, Range, normal_numbers
from dasr_fast.device import on_device

GAMMA = 2.2


@dataclass(frozen=True)
class Camera(Part):
    """Undo a camera's processing, add the noise of its sensor behind a Bayer filter, and process again.

    Processing is bilinear demosaicing, white balance, gamma and a tone curve; there is no matrix of colours. Gains and
    noise are those of Brooks et al., *Unprocessing Images for Learned Raw Denoising*, CVPR 2019. Images of other than
    three channels stay as they are.

    Attributes:
        probability: Of any of that.
        red: Gain of red.
        blue: Gain of blue.
        shot: Variance of the shot noise in parts of a white pixel's signal; its logarithm is uniform.
    """

    probability: float
    red: Range = (1.9, 2.4)
    blue: Range = (1.5, 1.9)
    shot: Range = (0.0001, 0.012)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        happens, red, blue = draws.happens(self.probability), draws.uniform(*self.red), draws.uniform(*self.blue)
        log_shot = draws.uniform(math.log(self.shot[0]), math.log(self.shot[1]))
        spread = torch.randn(draws.batch, generator=draws.generator, device="cpu")
        read = (2.18 * log_shot + 1.2 + 0.26 * spread).exp()
        numbers = {"happens": happens, "red": red, "blue": blue, "shot": log_shot.exp(), "read": read}
        return draws.parameters(numbers | {"seed": draws.seeds()})

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        names = ("happens", "red", "blue", "shot", "read", "seed")
        numbers = zip(*(drawn.numbers[name].tolist() for name in names), strict=True)
        results = []
        for image, (happens, red, blue, shot, read, seed) in zip(images, numbers, strict=True):
            if happens and image.shape[1] == 3:
                noise = normal_numbers((image.shape[0], 1, *image.shape[2:]), seed, drawn.device, image)
                results.append(_photographed(image, (red, 1.0, blue), shot, read, noise))
            else:
                results.append(image)
        return results


def _photographed(image: Tensor, gains: tuple[float, ...], shot: float, read: float, noise: Tensor) -> Tensor:
    x = (image / 255).clamp(0, 1)
    x = 0.5 - torch.sin(torch.asin(1 - 2 * x) / 3)  # Undoes the tone curve 3 x^2 - 2 x^3.
    x = x.pow(GAMMA)
    raw = _mosaic(torch.cat([plane / gain for plane, gain in zip(x.chunk(3, 1), gains, strict=True)], 1))
    raw = (raw + noise * (raw * shot + read).sqrt()).clamp(0, 1)
    planes = _demosaiced(raw).chunk(3, 1)
    x = torch.cat([plane * gain for plane, gain in zip(planes, gains, strict=True)], 1)
    x = x.clamp(1e-8, 1).pow(1 / GAMMA)
    return (3 * x**2 - 2 * x**3) * 255


def _filter(like: Tensor) -> Tensor:
    """Which of red, green and blue each pixel sees, `[3, h, w]`: RGGB."""
    height, width = like.shape[-2:]
    rows, columns = (torch.arange(size, device=like.device) % 2 for size in (height, width))
    number = rows[:, None] + columns[None, :]
    return torch.stack([number == 0, number == 1, number == 2]).to(like)


def _mosaic(image: Tensor) -> Tensor:
    return (image * _filter(image)).sum(1, keepdim=True)


def _demosaiced(raw: Tensor) -> Tensor:
    """Colours `[N, 3, h, w]` of raw pixels `[N, 1, h, w]`: the weighted mean of those of 3 x 3 that see a colour."""
    weights = on_device(torch.tensor([[1.0, 2, 1], [2, 4, 2], [1, 2, 1]]), raw.device).to(raw.dtype).expand(3, 1, 3, 3)
    seen = _filter(raw).expand(raw.shape[0], -1, -1, -1)
    found, count = (F.conv2d(x, weights, padding=1, groups=3) for x in (raw * seen, seen))
    return found / count.clamp(min=1)
