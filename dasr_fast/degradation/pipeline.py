"""Parts one after the other, and whole degradations made of them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dasr_fast.degradation.description import Quantity
from dasr_fast.degradation.part import Draws, Parameters, Part, Range
from dasr_fast.ops.checks import check_scale, check_tensor, shown

TOGETHER = 2**23
"""Numbers of the HR samples that go through all parts together on a CPU: few enough that the next part takes the memory
that one gives back. Pages that are new from the system take as long as many a part."""


@dataclass(frozen=True)
class Chain(Part):
    """Parts one after the other."""

    parts: Sequence[Part]

    @property
    def quantities(self) -> tuple[Quantity, ...]:  # type: ignore[override]
        """Those of all parts."""
        return tuple(quantity for part in self.parts for quantity in part.quantities)

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        return draws.parameters({}, [part.draw(draws) for part in self.parts])

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        images = list(images)
        for part, of_part in zip(self.parts, drawn.parts, strict=True):
            images = part.degrade(images, of_part)
        return images

    def describe(self, drawn: Parameters) -> Tensor:
        """See `Part`."""
        return torch.cat([part.describe(of_part) for part, of_part in zip(self.parts, drawn.parts, strict=True)], 1)


@dataclass(frozen=True)
class AnyOrder(Chain):
    """Parts in an order that is drawn for each sample, every order as often.

    Attributes:
        before: Pairs of parts, by number, of which the first always comes before the second: where they were drawn the
            other way round, they change places.
    """

    before: Sequence[tuple[int, int]] = ()

    def draw(self, draws: Draws) -> Parameters:
        """See `Part`."""
        parameters = super().draw(draws)
        places = torch.stack([draws.uniform(0, 1) for _ in self.parts], 1).argsort(1).argsort(1)
        for first, second in self.before:
            pair = places[:, [first, second]]
            places[:, first], places[:, second] = pair.amin(1), pair.amax(1)
        return draws.parameters({"places": places}, parameters.parts)

    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """See `Part`."""
        images = list(images)
        for place in range(len(self.parts)):
            for number, (part, of_part) in enumerate(zip(self.parts, drawn.parts, strict=True)):
                samples = (drawn.numbers["places"][:, number] == place).nonzero().flatten()
                chosen = samples.tolist()
                results = part.degrade([images[i] for i in chosen], of_part[samples]) if chosen else []
                for i, result in zip(chosen, results, strict=True):
                    images[i] = result
        return images


class Pipeline:
    """A degradation of parts that ends at the LR size, with parameters of each sample's own.

    Parameters are drawn on the host, since sizes depend on them, and nothing waits for a GPU. A sample's patches share
    all parameters but the noise. Images are rounded and clamped at the end.

    Args:
        scale: Whole factor between HR and LR, 1 to 4.
        part: What degrades; usually a `Chain`.
        noise: Smallest and largest standard deviation of the noise in grey levels; None if it isn't known.
    """

    def __init__(self, scale: int, part: Part, noise: Range | None = None) -> None:
        check_scale("Pipeline", scale)
        self.scale, self.part, self.noise = scale, part, noise

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What the numbers of `describe` measure."""
        return self.part.quantities

    def __call__(self, hr: Tensor, *, generator: torch.Generator | None = None) -> tuple[Tensor, Parameters]:
        """Degrade images.

        Args:
            hr: `[B, N, C, H, W]` (N patches of each sample) or `[B, C, H, W]`, uint8 or floating point in 0 to 255.
            generator: Source of randomness. One on the host gives the same images on every device; one on a GPU draws
                noise there.

        Returns:
            LR images `[..., C, H // scale, W // scale]`, whole numbers in 0 to 255 as float32 (float64 for float64
            images), and the parameters.

        Raises:
            TypeError, ValueError: The images aren't such, or smaller than `scale` pixels.
        """
        check_tensor("Pipeline", "hr", hr)
        if hr.dim() not in (4, 5) or min(hr.shape[-2:]) < self.scale:
            raise ValueError(
                f"Pipeline: hr must be [B, N, C, H, W] or [B, C, H, W] of at least {self.scale} pixels; "
                f"got {list(hr.shape)}."
            )
        drawn = self.draw(hr.shape, hr.device, generator)
        return self.degrade(hr, drawn), drawn

    def draw(self, shape: Sequence[int], device: torch.device, generator: torch.Generator | None = None) -> Parameters:
        """Parameters for HR images of `shape` on `device`, as a call draws them."""
        if generator is not None and not isinstance(generator, torch.Generator):
            raise TypeError(f"Pipeline: generator must be a torch.Generator or None; got {shown(generator)}.")
        source = device if generator is None else generator.device
        return self.part.draw(Draws(shape[0], (shape[-2], shape[-1]), self.scale, _on_host(generator), source))

    @torch.no_grad()
    def degrade(self, hr: Tensor, drawn: Parameters) -> Tensor:
        """LR images as a call makes them, with parameters that were drawn for images of this size."""
        dtype = torch.float64 if hr.dtype == torch.float64 else torch.float32
        patches = hr if hr.dim() == 5 else hr[:, None]
        if hr.numel() == 0:
            return hr.new_empty(*hr.shape[:-2], hr.shape[-2] // self.scale, hr.shape[-1] // self.scale, dtype=dtype)
        together = max(1, TOGETHER // patches[0].numel()) if hr.device.type == "cpu" else len(patches)
        lr: list[Tensor] = []
        for first in range(0, len(patches), together):
            samples = slice(first, first + together)
            lr += self.part.degrade([each.to(dtype) for each in patches[samples]], drawn[samples])
        result = torch.stack(lr).round_().clamp_(0, 255)
        return result if hr.dim() == 5 else result[:, 0]

    def describe(self, drawn: Parameters) -> Tensor:
        """Numbers `[B, K]` that tell how strong each part's effect is, of the order of 1, on the host."""
        return self.part.describe(drawn)


def _on_host(generator: torch.Generator | None) -> torch.Generator | None:
    """The generator itself if it is on the host, or one that follows from the state of that on a GPU."""
    if generator is None or generator.device.type == "cpu":
        return generator
    state = generator.get_state()  # Its seed and how much was drawn: known to the host.
    torch.rand(1, generator=generator, device=generator.device)  # So that the next call draws others.
    return torch.Generator().manual_seed(zlib.crc32(state.numpy().tobytes()))
