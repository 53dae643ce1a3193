"""The degradation that turns HR images into LR ones: blur, downsampling, noise."""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.degradation.description import BLUR, GREY_LEVELS, Quantity, blur_numbers
from dasr_fast.degradation.gaussian_kernel import gaussian_kernel
from dasr_fast.ops.checks import check_mode, check_scale, check_tensor, shown

Range = Sequence[float]
"""Both ends (low, high) from between which a number is drawn uniformly."""


LARGEST = 1e6
"""The largest width, angle or noise level."""


@dataclass(frozen=True)
class Drawn:
    """Random degradations of B images.

    Attributes:
        kernels: `[B, kh, kw]`.
        level: Standard deviations of the noise in grey levels, `[B]`, or None if there is none.
        noise: Standard normal, in the shape of the LR images, or None.
    """

    kernels: Tensor
    level: Tensor | None = None
    noise: Tensor | None = None

    def __getitem__(self, part: slice | Tensor) -> "Drawn":
        """Those of some of the images: a range, or their numbers."""
        level, noise = (None if x is None else x[part] for x in (self.level, self.noise))
        return Drawn(self.kernels[part], level, noise)

    def to(self, device: torch.device) -> "Drawn":
        """The same on another device."""
        level, noise = (None if x is None else x.to(device) for x in (self.level, self.noise))
        return Drawn(self.kernels.to(device), level, noise)


class Degradation(nn.Module):
    """`lr = clamp(round(downsample(blur(hr)) + noise))`: paper Equation 1, `SRMDPreprocessing` of the released code.

    A kernel and a noise level are drawn for each image and shared by its patches; the noise itself is independent
    for each patch. Everything happens on the images' device, and nothing waits for it.

    Args:
        scale: 1 (no downsampling) to 4.
        kernel: "isotropic" or "anisotropic" Gaussians, or kernels of one's own, as they are correlated with the
            image: one, `[kh, kw]`, or several to draw from, `[K, kh, kw]`, floating point; `.to(device)` moves them.
        noise: Largest standard deviation of the noise in grey levels; each image's is uniform in [0, noise]. A pair
            gives both ends of the range.
        size: Rows and columns of the Gaussian kernels; 21 if None.
        sigma: Standard deviation of the Gaussians in pixels, along x if anisotropic: a number, or the range from
            which it is drawn uniformly; (0.2, 4) if None. Width 0 doesn't blur.
        sigma_y: The same along the other axis of anisotropic kernels; as `sigma` (drawn anew) if None.
        theta: Angle of anisotropic kernels in radians, from x towards y: a number or a range; (0, pi) if None.
        mode: "bicubic" or "s-fold" downsampling.

    Raises:
        TypeError: Kernels of one's own aren't floating point.
        ValueError: An argument is out of range, or is for another kind of kernel; the message names it.
    """

    kernels: Tensor | None
    quantities = (BLUR, Quantity("noise_error_grey_levels", 1, GREY_LEVELS))
    """What the numbers of `describe` measure."""

    def __init__(
        self,
        scale: int = 4,
        kernel: Literal["isotropic", "anisotropic"] | Tensor = "anisotropic",
        noise: float | Range = 25.0,
        *,
        size: int | None = None,
        sigma: float | Range | None = None,
        sigma_y: float | Range | None = None,
        theta: float | Range | None = None,
        mode: Literal["bicubic", "s-fold"] = "bicubic",
    ) -> None:
        super().__init__()
        check_scale("Degradation", scale)
        check_mode("Degradation", mode)
        if isinstance(kernel, Tensor):
            _check_kernels(kernel)
            self.register_buffer("kernels", kernel.float().reshape(-1, *kernel.shape[-2:]), persistent=False)
            _refuse("kernels of one's own", size=size, sigma=sigma, sigma_y=sigma_y, theta=theta)
        elif isinstance(kernel, str) and kernel in ("isotropic", "anisotropic"):
            self.kernels = None
            if kernel == "isotropic":
                _refuse("isotropic kernels", sigma_y=sigma_y, theta=theta)
        else:
            raise ValueError(f"Degradation: kernel must be isotropic, anisotropic or a tensor; got {shown(kernel)}.")
        size = 21 if size is None else size
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"Degradation: size must be a whole number of at least 1; got {shown(size)}.")
        self.scale, self.mode, self.size = scale, mode, size
        self.isotropic = not isinstance(kernel, Tensor) and kernel == "isotropic"
        self.sigma = _range("sigma", (0.2, 4.0) if sigma is None else sigma)
        self.sigma_y = self.sigma if sigma_y is None else _range("sigma_y", sigma_y)
        self.theta = _range("theta", (0.0, math.pi) if theta is None else theta, low=-LARGEST)
        low, high = _range("noise", noise)
        self.noise = (low, high) if isinstance(noise, Sequence) else (0.0, high)

    def draw_kernels(self, batch: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
        """Random kernels `[batch, kh, kw]` on `device`; fixed ones where the settings are numbers."""
        if self.kernels is not None:
            source = device if generator is None else generator.device
            drawn = torch.randint(len(self.kernels), (batch,), generator=generator, device=source)
            return self.kernels.to(device)[drawn.to(device)]
        fixed = self.theta[0] == self.theta[1]
        ranges = (self.sigma,) if self.isotropic else (self.sigma, self.sigma_y, *(() if fixed else (self.theta,)))
        sigma, *others = _uniform(ranges, batch, device, generator)
        if self.isotropic:
            return gaussian_kernel(self.size, sigma)
        return gaussian_kernel(self.size, sigma, others[0], self.theta[0] if fixed else others[1])

    @torch.no_grad()
    def forward(
        self, hr: Tensor, *, generator: torch.Generator | None = None, kernels: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Degrade images.

        Args:
            hr: `[B, N, C, H, W]` (N patches of each image) or `[B, C, H, W]`, uint8 or floating point in 0 to 255.
            generator: Source of randomness; one on another device makes the same draws on every device.
            kernels: `[B, kh, kw]` to use instead of drawing.

        Returns:
            LR images `[..., C, H // scale, W // scale]`, whole numbers in 0 to 255 as float32 (float64 for float64
            images), and the kernels `[B, kh, kw]`.

        Raises:
            TypeError, ValueError: As `ops.blur_downsample`.
        """
        check_tensor("Degradation", "hr", hr)
        if hr.dim() not in (4, 5):
            raise ValueError(f"Degradation: hr must be [B, N, C, H, W] or [B, C, H, W]; got {list(hr.shape)}.")
        drawn = self.draw(hr.shape, hr.device, generator, kernels=kernels)
        return self.degrade(hr, drawn), drawn.kernels

    def draw(
        self,
        shape: Sequence[int],
        device: torch.device,
        generator: torch.Generator | None = None,
        *,
        kernels: Tensor | None = None,
    ) -> Drawn:
        """What `forward` draws for HR images of `shape`, as it does."""
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"Degradation: generator must be a torch.Generator or None; got {shown(generator)}.")
        if kernels is None:
            kernels = self.draw_kernels(shape[0], device, generator)
        check_tensor("Degradation", "kernels", kernels)
        if self.noise[1] == 0:
            return Drawn(kernels)
        level = _uniform((self.noise,), shape[0], device, generator)[0]
        source = device if generator is None else generator.device
        lr_shape = (*shape[:-2], shape[-2] // self.scale, shape[-1] // self.scale)
        added = torch.randn(lr_shape, generator=generator, dtype=torch.float32, device=source)
        return Drawn(kernels, level, added.to(device))

    @torch.no_grad()
    def degrade(self, hr: Tensor, drawn: Drawn) -> Tensor:
        """LR images as `forward` makes them, with kernels, levels and noise that were drawn."""
        images = hr.float() if hr.dtype in (torch.float16, torch.bfloat16) else hr
        kernels, noise, level = drawn.kernels.float(), drawn.noise, drawn.level
        return ops.blur_downsample(images, kernels, self.scale, mode=self.mode, noise=noise, level=level, quantize=True)

    def describe(self, drawn: Drawn) -> Tensor:
        """Blur and noise `[B, 4]`: `blur_numbers`, and the noise level, on the device of the kernels."""
        blur = blur_numbers(drawn.kernels)
        level = blur.new_zeros(len(blur)) if drawn.level is None else drawn.level / GREY_LEVELS
        return torch.cat((blur, level[:, None]), 1)


def image_generator(name: str, seed: int = 0) -> torch.Generator:
    """A CPU generator for the image called `name` (without folder), for any whole `seed`.

    An image's randomness depends on its name, not on the images before it.
    """
    # The CPU's generator takes 32 bits of its seed.
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode(errors="surrogateescape")))


def _uniform(
    ranges: tuple[tuple[float, float], ...], batch: int, device: torch.device, generator: torch.Generator | None
) -> list[Tensor]:
    """Uniform numbers `[batch]` from each range."""
    source = device if generator is None else generator.device
    draws = torch.rand(len(ranges), batch, generator=generator, dtype=torch.float32, device=source).to(device)
    return [draw * (high - low) + low for draw, (low, high) in zip(draws, ranges, strict=True)]


def _range(name: str, value: float | Range, low: float = 0.0) -> tuple[float, float]:
    bounds = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    numbers = len(bounds) == 2 and all(isinstance(bound, Real) for bound in bounds)
    if not numbers or not low <= bounds[0] <= bounds[1] <= LARGEST:
        raise ValueError(
            f"Degradation: {name} must be a number from {low:g} to {LARGEST:g}, or a pair (low, high); "
            f"got {shown(value)}."
        )
    return float(bounds[0]), float(bounds[1])


def _refuse(kernels: str, **settings: object) -> None:
    """Raise a ValueError if one of the settings, which kernels of that kind don't have, isn't None."""
    for name, value in settings.items():
        if value is not None:
            raise ValueError(f"Degradation: {name} is not for {kernels}; got {shown(value)}.")


def _check_kernels(kernel: Tensor) -> None:
    if not kernel.is_floating_point():
        raise TypeError(f"Degradation: kernel must be floating point; got {str(kernel.dtype).removeprefix('torch.')}.")
    if kernel.dim() not in (2, 3) or kernel.numel() == 0:
        raise ValueError(f"Degradation: kernel must be [kh, kw] or [K, kh, kw]; got {list(kernel.shape)}.")
    if not torch.isfinite(kernel.float()).all():
        raise ValueError("Degradation: kernel must be finite; it holds NaN or infinity.")
