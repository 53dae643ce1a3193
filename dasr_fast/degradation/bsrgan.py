"""Parts of which the parameters are those of BSRGAN (Zhang et al., ICCV 2021; `utils/utils_blindsr.py` of its code).

They depend on the factor that is left to the LR size, which is 2 or the whole scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.degradation.blur import FORMS, blur_kernel, blurred
from dasr_fast.degradation.description import BLUR, GREY_LEVELS, Quantity, blur_numbers
from dasr_fast.degradation.part import Draws, Parameters, Part, normal_numbers, together
from dasr_fast.degradation.resizing import resized
from dasr_fast.device import on_device
from dasr_fast.ops.resize import MODES

LARGEST = 25
"""Rows and columns of the largest kernels."""


@dataclass(frozen=True)
class Halving(Part):
    """Images of scale 4 become half as large, by any method or, as often, by antialiased bicubic."""

    probability: float = 0.25

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        halves = draws.happens(self.probability) & (draws.left == 4)
        smooth = draws.happens(0.5)
        mode = torch.where(smooth, MODES.index("bicubic"), draws.whole(0, len(MODES) - 1))
        draws.sizes = torch.where(halves[:, None], draws.sizes // 2, draws.sizes)
        draws.left = torch.where(halves, 2.0, draws.left)
        return draws.parameters({"halves": halves, "mode": mode, "smooth": smooth, "size": draws.sizes})

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        return resized(images, *(drawn.numbers[name] for name in ("size", "mode", "smooth")))


@dataclass(frozen=True)
class ScaledBlur(Part):
    """A Gaussian blur: anisotropic with variances up to 4 + factor, or, as often, isotropic up to 2 + factor / 5."""

    quantities = (BLUR,)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        size, turned = 2 * draws.whole(2, 11) + 3, draws.happens(0.5)
        variances = [draws.uniform(0, 4 + draws.left) for _ in range(2)]
        width, theta = draws.uniform(0, 2 + 0.2 * draws.left), draws.uniform(0, math.pi)
        sigma_x, sigma_y = (torch.where(turned, variance.sqrt(), width) for variance in variances)
        form = torch.full_like(size, FORMS.index("gaussian"))
        kernel = blur_kernel(size, sigma_x, sigma_y, theta, form, torch.ones_like(theta), LARGEST)
        shape = {"size": size, "turned": turned, "sigma_x": sigma_x, "sigma_y": sigma_y, "theta": theta}
        return draws.parameters({"kernel": kernel} | shape)

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        return blurred(images, drawn.numbers["kernel"], separable=~drawn.numbers["turned"])

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`."""
        return blur_numbers(drawn.numbers["kernel"])


@dataclass(frozen=True)
class Downsampling(Part):
    """Downsample by a random factor of up to twice that which is left, or blur and keep every such pixel."""

    probability: float = 0.75
    """Of a random factor."""

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        resizes, factor = draws.happens(self.probability), draws.uniform(1, 2 * draws.left)
        factor = torch.where(resizes, factor, draws.left)
        draws.sizes = (draws.sizes / factor.double()[:, None]).long().clamp(min=1)
        numbers = {"resizes": resizes, "factor": factor, "size": draws.sizes, "left": draws.left.long()}
        sigma = draws.uniform(0.1, 0.6 * draws.left)
        return draws.parameters(numbers | {"mode": draws.whole(0, len(MODES) - 1), "sigma": sigma})

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        numbers, factors = drawn.numbers, drawn.numbers["left"].tolist()

        def decimate(stacked: Tensor, chosen: list[int]) -> Tensor:
            factor = factors[chosen[0]]
            kernel = _shifted_gaussian(numbers["sigma"][chosen], factor, min(LARGEST, 2 * min(stacked.shape[-2:]) - 1))
            return ops.blur_downsample(stacked, on_device(kernel, stacked.device), factor, mode="s-fold")

        images = together(images, decimate, factors, where=~numbers["resizes"])
        return resized(images, numbers["size"], numbers["mode"], torch.zeros_like(numbers["resizes"]))


def _shifted_gaussian(sigma: Tensor, factor: int, size: int) -> Tensor:
    """Kernels `[B, size, size]` around the middle of the `factor` pixels of which the first is kept."""
    axis = torch.arange(size, dtype=torch.float64) - size // 2 - (factor - 1) / 2
    line = torch.exp(-0.5 * (axis / sigma.double()[:, None]) ** 2) + 1e-30
    line = line / line.sum(1, keepdim=True)
    return (line[:, :, None] * line[:, None, :]).float()


@dataclass(frozen=True)
class MixedNoise(Part):
    """Gaussian noise of 2 to 25 grey levels: independent in each channel (2 in 5), grey (2 in 5), or correlated.

    The correlated kind has the covariance `abs(25^2 U^T D U)` of channels, with U orthogonal and D diagonal in [0, 1].
    """

    quantities = (Quantity("noise_error_grey_levels", 1, GREY_LEVELS),)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        level, kind = draws.whole(2, 25), draws.choice((0.4, 0.4, 0.2))
        strengths = torch.stack([draws.uniform(0, 1) for _ in range(3)], 1).double()
        random = torch.stack([draws.uniform(0, 1) for _ in range(9)], 1).double().view(-1, 3, 3)
        turn = torch.linalg.svd(random)[0]
        covariance = (turn.mT @ torch.diag_embed(strengths) @ turn).abs() * 25**2
        values, vectors = torch.linalg.eigh(covariance)
        root = (vectors * values.abs().sqrt()[:, None, :]).float()
        colour = torch.eye(3) * level[:, None, None]
        grey = torch.tensor([[1.0, 0, 0]] * 3) * level[:, None, None]
        number = kind[:, None, None]
        mix = torch.where(number == 0, colour, torch.where(number == 1, grey, root))
        return draws.parameters({"level": level, "kind": kind, "mix": mix, "seed": draws.seeds()})

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`. Images of one channel get noise of the first."""
        results = []
        for image, mix, seed in zip(images, drawn.numbers["mix"], drawn.numbers["seed"].tolist(), strict=True):
            noise = normal_numbers((image.shape[0], 3, *image.shape[2:]), seed, drawn.device, image)
            noise = torch.einsum("cd,ndhw->nchw", on_device(mix, image.device).to(image.dtype), noise)
            results.append((image + noise[:, : image.shape[1]]).clamp_(0, 255))
        return results

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`."""
        power = drawn.numbers["mix"].square().sum((1, 2)) / 3
        return (power.sqrt() / GREY_LEVELS)[:, None]
