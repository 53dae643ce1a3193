"""What the parts of a degradation have in common: they draw parameters for each sample, then degrade with them."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from dasr_fast import ops
from dasr_fast.degradation.description import Quantity
from dasr_fast.device import on_device

Range = tuple[float, float]
"""Both ends (low, high) from between which a number is drawn uniformly."""

Samples = slice | Tensor | list[int]

LARGE = 2**16
"""Numbers of a sample from which on copying samples beside each other takes a CPU longer than calls for each."""


@dataclass(frozen=True)
class Parameters:
    """How a part degrades each of B samples.

    Attributes:
        numbers: Tensors `[B, ...]` on the host, by name.
        device: Where noise is drawn.
        parts: Parameters of the parts that the part is made of.
    """

    numbers: Mapping[str, Tensor]
    device: torch.device
    parts: tuple["Parameters", ...] = ()

    def __getitem__(self, samples: Samples) -> "Parameters":
        """Those of some of the samples: a range, or their numbers."""
        numbers = {name: x[samples] for name, x in self.numbers.items()}
        return Parameters(numbers, self.device, tuple(part[samples] for part in self.parts))


@dataclass
class Draws:
    """Random numbers `[batch]` on the host, and the sizes of the images at this point.

    Attributes:
        batch: Number of samples, B.
        hr: Rows and columns of the HR images.
        scale: Whole factor between HR and LR.
        generator: On the host; PyTorch's own if None.
        device: Where noise is drawn.
        sizes: Rows and columns `[B, 2]` of the images when the part that draws gets them.
        left: Factor `[B]` that is left of `scale` then.
    """

    batch: int
    hr: tuple[int, int]
    scale: int
    generator: torch.Generator | None
    device: torch.device
    sizes: Tensor = field(init=False)
    left: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = torch.tensor(self.hr).expand(self.batch, 2)
        self.left = torch.full((self.batch,), float(self.scale))

    def uniform(self, low: float | Tensor, high: float | Tensor) -> Tensor:
        """Uniform numbers."""
        return torch.rand(self.batch, generator=self.generator, device="cpu") * (high - low) + low

    def happens(self, probability: float) -> Tensor:
        """True with that probability."""
        return self.uniform(0, 1) < probability

    def whole(self, low: int, high: int) -> Tensor:
        """Whole numbers from `low` to `high`, each as often."""
        return torch.randint(low, high + 1, (self.batch,), generator=self.generator, device="cpu")

    def choice(self, probabilities: Sequence[float]) -> Tensor:
        """Numbers of possibilities, with these probabilities (of sum 1)."""
        ends = torch.tensor(probabilities, dtype=torch.float64).cumsum(0)[:-1]
        return torch.bucketize(self.uniform(0, 1).double(), ends, right=True)

    def seeds(self) -> Tensor:
        """Seeds for noise."""
        return torch.randint(2**31, (self.batch,), generator=self.generator, device="cpu")

    def parameters(self, numbers: Mapping[str, Tensor], parts: Sequence[Parameters] = ()) -> Parameters:
        """The parameters of a part."""
        return Parameters(numbers, self.device, tuple(parts))


class Part(ABC):
    """A part of a degradation."""

    quantities: tuple[Quantity, ...] = ()
    """What the numbers of `describe` measure."""

    @abstractmethod
    def draw(self, draws: Draws) -> Parameters:
        """Parameters for all samples."""

    @abstractmethod
    def degrade(self, images: Sequence[Tensor], drawn: Parameters) -> list[Tensor]:
        """Degrade each sample with its parameters.

        Args:
            images: For each sample `[N, C, h, w]`, floating point in 0 to 255; sizes may differ between samples.
            drawn: The parameters.
        """

    def describe(self, drawn: Parameters) -> Tensor:
        """Numbers `[B, K]` that tell how strong the part's effect is, of the order of 1."""
        return torch.zeros(len(next(iter(drawn.numbers.values()))), 0)


def together(
    images: Sequence[Tensor],
    function: Callable[[Tensor, list[int]], Iterable[Tensor]],
    keys: Sequence[Hashable] | None = None,
    *,
    where: Tensor | None = None,
) -> list[Tensor]:
    """Apply a function to all samples of one size at once; on a CPU, to large samples one by one.

    Args:
        images: For each sample `[N, C, h, w]`.
        function: From images `[n, N, C, h, w]` of one size, and their numbers among all, to images `[n, N, C, h', w']`.
        keys: Only samples with the same go together.
        where: True for the samples to which the function is applied, `[B]`, on the host; all if None.
    """
    groups: dict[Hashable, list[int]] = {}
    chosen = [True] * len(images) if where is None else where.tolist()
    for number, image in enumerate(images):
        if chosen[number]:
            alone = image.device.type == "cpu" and image.numel() >= LARGE
            key = (image.shape, keys and keys[number], number if alone else None)
            groups.setdefault(key, []).append(number)
    results = list(images)
    for numbers in groups.values():
        alike = [images[number] for number in numbers]
        stacked = alike[0][None] if len(alike) == 1 else torch.stack(alike)
        for number, result in zip(numbers, function(stacked, numbers), strict=True):
            results[number] = result
    return results


def of_samples(numbers: Tensor, samples: list[int]) -> Tensor:
    """Rows of a tensor; a single one is a view, which takes a tenth of the time."""
    return numbers[samples] if len(samples) > 1 else numbers[samples[0]][None]


def normal_numbers(shape: Sequence[int], seed: int, source: torch.device, like: Tensor) -> Tensor:
    """Standard normal numbers that are drawn on `source`, with the type and device of another tensor.

    On a GPU by PyTorch's generator, since the op has no kernel there; the same seed then draws others.
    """
    if source.type == "cpu":
        numbers = ops.normal_numbers(torch.tensor([seed]), math.prod(shape)).view(*shape)
    else:
        generator = torch.Generator(source).manual_seed(seed)
        numbers = torch.randn(shape, generator=generator, dtype=torch.float32, device=source)
    return on_device(numbers, like.device).to(like.dtype)
