"""Blur by random kernels of many forms."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.degradation.description import BLUR, blur_numbers
from dasr_fast.degradation.part import Draws, Parameters, Part, Range, of_samples, together
from dasr_fast.device import on_device
from dasr_fast.reference.gaussian_kernel import NARROWEST

NEGLIGIBLE = 1e-5
"""Part of a kernel that may be left out."""

SEPARATED = 5
"""Reach from which on a separable kernel is faster as two."""

FORMS = ("gaussian", "generalized", "plateau")


def blur_kernel(
    size: Tensor, sigma_x: Tensor, sigma_y: Tensor, theta: Tensor, form: Tensor, beta: Tensor, grid: int
) -> Tensor:
    """Kernels of sum 1 in the middle of a grid, as functions of a squared distance `d` in standard deviations.

    `exp(-d / 2)` is a Gaussian, `exp(-d ** beta / 2)` a generalised one, `1 / (1 + d ** beta)` a plateau. Source: Wang
    et al., *Real-ESRGAN*, ICCVW 2021, section 3.1; Liu et al., *Estimating generalized Gaussian blur kernels for
    out-of-focus image deblurring*, 2020.

    Args:
        size: Rows and columns `[B]` of each kernel, odd; beyond them it is 0.
        sigma_x: Standard deviations in pixels, `[B]`.
        sigma_y: The same along the other axis.
        theta: Angles in radians, from x towards y.
        form: Number in `FORMS`, `[B]`.
        beta: Exponents `[B]`; Gaussians don't look at them.
        grid: Rows and columns of the result, odd.

    Returns:
        `[B, grid, grid]`, float32.
    """
    x, y, inside = _axes(size, grid)
    sigma_x, sigma_y, theta, beta = (v.double()[:, None, None] for v in (sigma_x, sigma_y, theta, beta))
    along = (x * theta.cos() + y * theta.sin()) / sigma_x.clamp(min=NARROWEST)
    across = (y * theta.cos() - x * theta.sin()) / sigma_y.clamp(min=NARROWEST)
    distance = along**2 + across**2
    number = form[:, None, None]
    power = torch.where(number == FORMS.index("gaussian"), distance, distance**beta)
    kernel = torch.where(number == FORMS.index("plateau"), 1 / (1 + power), torch.exp(-power / 2)) * inside
    return _normalized(kernel)


def sinc_kernel(size: Tensor, cutoff: Tensor, grid: int) -> Tensor:
    """Ideal low-pass filters, round in the plane of frequencies, which make edges ring.

    Args:
        size: Rows and columns `[B]` of each kernel, odd; beyond them it is 0.
        cutoff: Largest frequencies `[B]` in radians per pixel.
        grid: Rows and columns of the result, odd.

    Returns:
        `[B, grid, grid]`, float32, of sum 1.
    """
    x, y, inside = _axes(size, grid)
    side = torch.arange(grid // 2 + 1, dtype=torch.float64)  # All quarters are the same, and Bessel functions slow.
    radius, cutoff = (side**2 + side[:, None] ** 2).sqrt(), cutoff.double()[:, None, None]
    away = cutoff * torch.special.bessel_j1(cutoff * radius) / (2 * math.pi * radius.clamp(min=0.5))
    quarter = torch.where(radius == 0, cutoff**2 / (4 * math.pi), away)
    return _normalized(quarter[:, y.abs().long(), x.abs().long()] * inside)


def _axes(size: Tensor, grid: int) -> tuple[Tensor, Tensor, Tensor]:
    axis = torch.arange(grid, dtype=torch.float64) - grid // 2
    within = axis.abs() <= (size // 2)[:, None]
    return axis[None, :], axis[:, None], within[:, :, None] & within[:, None, :]


def _normalized(kernel: Tensor) -> Tensor:
    kernel = (kernel / kernel.sum((1, 2), keepdim=True)).float()
    return torch.where(kernel.abs() < 1e-30, 0.0, kernel)  # Subnormal numbers slow a CPU down.


@dataclass(frozen=True)
class Blur(Part):
    """Blur with a kernel of each sample's own, images continued by reflection.

    Attributes:
        sigma: Standard deviation in pixels, drawn for each axis.
        sizes: Rows and columns, odd; one of them is drawn.
        forms: Probabilities of isotropic and anisotropic Gaussians, generalised Gaussians and plateaus, in this order.
        generalized: Exponent of generalised Gaussians: below 1 in half the cases, above 1 in the others.
        plateau: Exponent of plateaus, drawn likewise.
        probability: Of any blur.
        sinc: Probability of a sinc filter in place of these.
        narrow_cutoff: Cutoff of a sinc filter of less than 13 pixels, in radians per pixel.
        wide_cutoff: That of a larger one.
    """

    sigma: Range
    sizes: Sequence[int] = range(7, 22, 2)
    forms: Sequence[float] = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    generalized: Range = (0.5, 4.0)
    plateau: Range = (1.0, 2.0)
    probability: float = 1.0
    sinc: float = 0.0
    narrow_cutoff: Range = (math.pi / 3, math.pi)
    wide_cutoff: Range = (math.pi / 5, math.pi)

    quantities = (BLUR,)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        size = torch.tensor(list(self.sizes))[draws.whole(0, len(self.sizes) - 1)]
        kind = draws.choice(self.forms)
        form, turned = kind // 2, kind % 2 == 1
        sigma_x, sigma_y, theta = draws.uniform(*self.sigma), draws.uniform(*self.sigma), draws.uniform(0, math.pi)
        sigma_y, theta = torch.where(turned, sigma_y, sigma_x), torch.where(turned, theta, 0.0)
        ends = torch.tensor([(1.0, 1.0), self.generalized, self.plateau])[form]
        beta = torch.where(draws.happens(0.5), draws.uniform(ends[:, 0], 1.0), draws.uniform(1.0, ends[:, 1]))
        narrow, wide = draws.uniform(*self.narrow_cutoff), draws.uniform(*self.wide_cutoff)
        cutoff, rings = torch.where(size < 13, narrow, wide), draws.happens(self.sinc)
        blurs = draws.happens(self.probability)
        grid = max(self.sizes)
        smooth = blur_kernel(size, sigma_x, sigma_y, theta, form, beta, grid)
        kernel = torch.where(rings[:, None, None], sinc_kernel(size, cutoff, grid), smooth)
        shape = {"size": size, "kind": kind, "sigma_x": sigma_x, "sigma_y": sigma_y, "theta": theta, "beta": beta}
        return draws.parameters({"blurs": blurs, "rings": rings, "cutoff": cutoff, "kernel": kernel} | shape)

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        numbers = drawn.numbers
        return blurred(images, numbers["kernel"], numbers["blurs"], (numbers["kind"] == 0) & ~numbers["rings"])

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`. Sinc filters count as no blur."""
        smooth = drawn.numbers["blurs"] & ~drawn.numbers["rings"]
        return blur_numbers(drawn.numbers["kernel"]) * smooth[:, None]


@dataclass(frozen=True)
class Ringing(Part):
    """A sinc filter, which makes edges ring as sharpening and resizing do.

    Attributes:
        probability: Of any filter.
        sizes: Rows and columns, odd; one of them is drawn.
        cutoff: Largest frequency in radians per pixel.
    """

    probability: float
    sizes: Sequence[int] = range(7, 22, 2)
    cutoff: Range = (math.pi / 3, math.pi)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        size = torch.tensor(list(self.sizes))[draws.whole(0, len(self.sizes) - 1)]
        cutoff, rings = draws.uniform(*self.cutoff), draws.happens(self.probability)
        kernel = sinc_kernel(size, cutoff, max(self.sizes))
        return draws.parameters({"rings": rings, "size": size, "cutoff": cutoff, "kernel": kernel})

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        return blurred(images, drawn.numbers["kernel"], drawn.numbers["rings"])


def blurred(
    images: Sequence[Tensor], kernel: Tensor, where: Tensor | None = None, separable: Tensor | None = None
) -> list[Tensor]:
    """Images correlated with kernels `[B, k, k]` of odd size.

    Args:
        images: For each sample `[N, C, h, w]`. A kernel of twice an image's size or more is cut.
        kernel: The kernels, of sum 1, on the host.
        where: True for the samples to blur, `[B]`; all if None.
        separable: True for kernels that are products of their sums along the axes, `[B]`; none if None.
    """
    middle = kernel.shape[-1] // 2
    smallest = torch.tensor([min(image.shape[-2:]) - 1 for image in images])
    reaches = torch.minimum(_reach(kernel), smallest)
    within = (torch.arange(kernel.shape[-1]) - middle).abs() <= reaches[:, None]
    kernel = kernel * (within[:, :, None] & within[:, None, :])
    kernel = kernel / kernel.sum((1, 2), keepdim=True, dtype=torch.float64)
    kernel, reach = kernel.float(), reaches.tolist()
    product = [False] * len(images) if separable is None else separable.tolist()

    def blur(stacked: Tensor, numbers: list[int]) -> Tensor:
        own = reach[numbers[0]]
        cut = slice(middle - own, middle + own + 1)
        kernels = on_device(of_samples(kernel, numbers)[:, cut, cut], stacked.device)
        if product[numbers[0]] and own >= SEPARATED and stacked.device.type != "cpu":  # Kernels in C++ find out.
            stacked = ops.blur_downsample(stacked, kernels.sum(1, keepdim=True), 1)
            return ops.blur_downsample(stacked, kernels.sum(2, keepdim=True), 1)
        return ops.blur_downsample(stacked, kernels, 1)

    return together(images, blur, list(zip(reach, product, strict=True)), where=where)


def _reach(kernel: Tensor) -> Tensor:
    """How far from its middle each kernel goes, `[B]`: what is left out changes no pixel by 0.006 grey levels."""
    axis = (torch.arange(kernel.shape[-1]) - kernel.shape[-1] // 2).abs()
    ring = torch.maximum(axis[:, None], axis).flatten()
    weight = torch.zeros(len(kernel), int(axis.max()) + 1).index_add_(1, ring, kernel.abs().flatten(1))
    outside = weight.flip(1).cumsum(1).flip(1)
    return (outside > NEGLIGIBLE).sum(1) - 1
