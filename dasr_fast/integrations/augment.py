"""Degradations as training code elsewhere calls them: BasicSR's `filter2D`, and an augmentation as kornia has them."""

import torch
from torch import Tensor, nn

from dasr_fast import ops
from dasr_fast.degradation import preset


def filter2D(image: Tensor, kernel: Tensor) -> Tensor:
    """Filter images by kernels, as BasicSR's `filter2D` does: reflected at the border, one kernel a sample.

    Args:
        image: `[B, C, H, W]`.
        kernel: `[B, kh, kw]`, or `[1, kh, kw]` or `[kh, kw]` for all; cross-correlated, not turned.

    Returns:
        `[B, C, H, W]`; differentiable.

    Raises:
        TypeError: An argument isn't a floating-point tensor.
        ValueError: A shape is another.
    """
    if isinstance(kernel, Tensor) and isinstance(image, Tensor) and kernel.dim() in (2, 3) and image.dim() == 4:
        kernel = kernel.expand(image.shape[0], *kernel.shape[-2:]) if kernel.dim() == 2 or len(kernel) == 1 else kernel
    return ops.blur_downsample(image, kernel, 1, mode="s-fold")


class RandomDegradation(nn.Module):
    """Degrades images at random, and images that belong together alike.

    Args:
        degradation: A preset, see `dasr_fast.degradation.preset`.
        scale: By which images become smaller; 1 keeps their size.
        p: Probability with which a sample is degraded; 1 unless the scale is 1.
        generator: Of random numbers; PyTorch's own if None.

    Raises:
        ValueError: There is no such preset or scale, or p isn't a probability.
    """

    def __init__(
        self, degradation: str = "photo", scale: int = 1, p: float = 1.0, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if not 0 <= p <= 1 or (p < 1 and scale != 1):
            raise ValueError(f"RandomDegradation: p must be 0 to 1, and 1 unless the scale is 1; got {p} at x{scale}.")
        self.degrade, self.p, self.generator = preset(degradation, scale), p, generator

    def forward(self, *images: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Degrade `[B, 3, H, W]` in 0 to 1; several tensors of one shape get the same kernels, noise levels and so on.

        Returns:
            `[B, 3, H / scale, W / scale]` in 0 to 1, or a tuple of as many as came.
        """
        hr = torch.stack(images, 1)
        lr = self.degrade(hr * 255, generator=self.generator)[0] / 255
        if self.p < 1:
            device = hr.device if self.generator is None else self.generator.device
            chosen = torch.rand(len(hr), 1, 1, 1, 1, generator=self.generator, device=device).to(hr.device) < self.p
            lr = torch.where(chosen, lr, hr)
        return tuple(lr.unbind(1)) if len(images) > 1 else lr[:, 0]
