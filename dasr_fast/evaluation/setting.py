"""Degradations under which methods are evaluated, and the paper's sets of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from dasr_fast.degradation import Degradation, preset
from dasr_fast.degradation.compression import compressed
from dasr_fast.ops.checks import check_mode, shown


@dataclass(frozen=True)
class Setting:
    """One fixed degradation.

    Attributes:
        sigma: Standard deviation of the Gaussian blur in pixels, along x if anisotropic; 0 doesn't blur.
        sigma_y: Along the other axis, or None for an isotropic kernel.
        theta: Angle of an anisotropic kernel in degrees, from x towards y.
        noise: Standard deviation of the noise in grey levels.
        mode: Downsampling.
        jpeg: Quality of a JPEG compression (4:2:0) at the end, 1 to 100, or None.

    Raises:
        ValueError: An attribute is out of range, or there is an angle without a second width, which would do nothing.
    """

    sigma: float = 0.0
    sigma_y: float | None = None
    theta: float = 0.0
    noise: float = 0.0
    mode: Literal["bicubic", "s-fold"] = "bicubic"
    jpeg: int | None = None

    def __post_init__(self) -> None:
        widths = {"sigma": self.sigma, "sigma_y": 0.0 if self.sigma_y is None else self.sigma_y, "noise": self.noise}
        for name, value in (*widths.items(), ("theta", self.theta)):
            if not isinstance(value, Real) or not abs(value) < math.inf or (name != "theta" and value < 0):
                accepted = "finite" if name == "theta" else "finite and not negative"
                raise ValueError(f"Setting: {name} must be a number, {accepted}; got {shown(value)}.")
        check_mode("Setting", self.mode)
        if self.jpeg is not None and (not isinstance(self.jpeg, int) or not 1 <= self.jpeg <= 100):
            raise ValueError(f"Setting: jpeg must be a quality from 1 to 100, or None; got {shown(self.jpeg)}.")
        if self.theta != 0 and self.sigma_y is None:
            raise ValueError(f"Setting: theta turns an anisotropic blur, and sigma_y is None; got {self.theta!r}.")

    @property
    def names(self) -> dict[str, str]:
        """What a table says of it, by column."""
        jpeg = {} if self.jpeg is None else {"JPEG": str(self.jpeg)}
        return {"kernel": self.kernel, "noise": f"{self.noise:g}"} | jpeg

    @property
    def kernel(self) -> str:
        """How a table names the kernel."""
        if self.sigma_y is None:
            return f"{self.sigma:g}"
        return f"({self.sigma:.1f}, {self.sigma_y:.1f}, {self.theta:g})"

    def degrade(self, hr: Tensor, scale: int, generator: torch.Generator | None = None) -> Tensor:
        """LR images of HR images `[B, C, H, W]` in 0 to 255."""
        lr, _ = self.degradation(scale)(hr, generator=generator)
        return lr if self.jpeg is None else compressed(lr, lr.new_full((len(lr),), self.jpeg))

    def degradation(self, scale: int) -> Degradation:
        """The degradation at that scale but for JPEG. Without blur, images may be smaller than the usual kernel."""
        return Degradation(
            scale,
            "isotropic" if self.sigma_y is None else "anisotropic",
            (self.noise, self.noise),
            size=1 if self.sigma == 0 and self.sigma_y is None else None,
            sigma=self.sigma,
            sigma_y=self.sigma_y,
            theta=None if self.sigma_y is None else math.radians(self.theta),
            mode=self.mode,
        )


@dataclass(frozen=True)
class PresetSetting:
    """A random degradation for each image, of a preset of `dasr_fast.degradation.preset`.

    Raises:
        ValueError: There is no such preset.
    """

    preset: str

    def __post_init__(self) -> None:
        preset(self.preset)

    @property
    def names(self) -> dict[str, str]:
        """What a table says of it, by column."""
        return {"preset": self.preset}

    def degrade(self, hr: Tensor, scale: int, generator: torch.Generator | None = None) -> Tensor:
        """LR images of HR images `[B, C, H, W]` in 0 to 255."""
        lr, _ = preset(self.preset, scale)(hr, generator=generator)
        return lr


def table2(scale: int) -> list[Setting]:
    """The isotropic widths of the paper's Table 2 at that scale, noise-free.

    Raises:
        ValueError: The table has no such scale.
    """
    steps = {2: 0.6, 3: 0.8, 4: 1.2}
    if not isinstance(scale, int) or scale not in steps:
        raise ValueError(f"Table 2 has scales 2, 3 and 4; got {shown(scale)}.")
    return [Setting(sigma=round(i * steps[scale], 1)) for i in range(4)]


ANISOTROPIC = (
    (2.0, 0.5, 0),
    (2.0, 1.0, 10),
    (3.5, 1.5, 30),
    (3.5, 2.0, 45),
    (3.5, 2.0, 90),
    (4.0, 1.5, 120),
    (4.0, 2.0, 135),
    (4.0, 3.0, 165),
    (4.0, 4.0, 180),
)
"""The kernels of the paper's Table 3: lambda_1, lambda_2 and theta in degrees."""


def anisotropic_settings(noise_levels: Sequence[float] = (0.0,)) -> list[Setting]:
    """The nine anisotropic kernels of the paper's Table 3, each with these noise levels."""
    return [Setting(sigma, sigma_y, theta, noise) for noise in noise_levels for sigma, sigma_y, theta in ANISOTROPIC]


def table3(scale: int) -> list[Setting]:
    """The nine anisotropic kernels of the paper's Table 3, each with noise 0, 5 and 10.

    Raises:
        ValueError: The table has no such scale.
    """
    if not isinstance(scale, int) or scale != 4:
        raise ValueError(f"Table 3 has scale 4 only; got {shown(scale)}.")
    return anisotropic_settings((0.0, 5.0, 10.0))
