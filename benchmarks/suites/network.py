"""Suite `network`: the whole model, from LR images to SR images."""

from collections.abc import Iterator, Mapping
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness.work import BASELINE, Contender, Settings, Work
from benchmarks.suites import runtimes
from benchmarks.suites.variants import Variant, in_graph, of_network
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR
from tests.released.baseline import find_baseline
from tests.released.network import Blind

SIZES, SCALES, BATCHES = ((320, 180), (640, 360), (960, 540)), (2, 3, 4), (1, 16)

REACH = 112
"""LR pixels from which a result may depend on the image, at least; 109 by the sizes of the convolutions."""

INNER = 32
"""Side in LR pixels of what is compared at two corners of large images."""

WHOLE = 128 * 128
"""LR pixels up to which all of an image is compared."""


class Case(NamedTuple):
    """LR images."""

    width: int
    height: int
    scale: int
    batch: int

    def __str__(self) -> str:
        return f"x{self.scale} of {self.width}x{self.height}" + (f", batch {self.batch}" if self.batch > 1 else "")


ON_A_CPU = (*(Case(320, 180, scale, 1) for scale in SCALES), Case(640, 360, 4, 1), Case(960, 540, 4, 1))
QUICK = (Case(160, 90, 4, 1),)
LARGE = 640 * 360
"""LR pixels up to which a CPU takes minutes for all contenders."""

FEW = (
    *(BASELINE, "released, channels-last bf16", "onnxruntime", "OpenVINO", "OpenVINO bf16"),
    *("dasr-fast", "Engine fp32", "Engine bf16"),
)
"""Who restores larger images on a CPU: the best of each kind."""


def works(settings: Settings) -> Iterator[Work]:
    """The chosen sizes, scales and batches with all contenders."""
    for case in chosen(settings):
        compiles = settings.everything or settings.device == "cuda" or case == Case(320, 180, 4, 1)
        everybody = contenders(case.scale, settings, compiles=compiles)
        few = settings.device == "cpu" and not settings.everything and case.width * case.height > LARGE
        some = {name: everybody[name] for name in (FEW if few else everybody) if name in everybody}
        yield network_work("network", case, settings, some)


def chosen(settings: Settings) -> tuple[Case, ...]:
    """Cases of this device, or all that were asked for."""
    asked = settings.sizes or settings.scales or settings.batches
    if settings.quick and not asked:
        return QUICK
    if settings.device == "cpu" and not settings.everything and not asked:
        return ON_A_CPU
    batches = settings.batches or (BATCHES if settings.everything or settings.device == "cuda" else (1,))
    every = product(settings.sizes or SIZES, settings.scales or SCALES, batches)
    return tuple(Case(*size, scale, batch) for size, scale, batch in every)


def network_work(suite: str, case: Case, settings: Settings, contenders: Mapping[str, Contender]) -> Work:
    """Images of a case, restored by contenders."""

    def inputs() -> tuple[Tensor]:
        return (smooth_images(case.batch, case.height, case.width).to(settings.device),)

    def expected(lr: Tensor) -> list[Tensor]:
        network = plain_network(case.scale, settings).eval().requires_grad_(False)
        return [expected_at(place, lr, network) for place in places(case)]

    def read(output: Any) -> list[Tensor]:
        return output if isinstance(output, list) else [output[place] for place in places(case)]

    return Work(
        suite,
        str(case),
        inputs,
        contenders,
        expected,
        settings.tolerance,
        read,
        operations=lambda: operations(case),
        pixels=case.batch * case.width * case.height,
    )


def contenders(scale: int, settings: Settings, *, compiles: bool) -> dict[str, Contender]:
    """Everybody who restores images at that scale."""
    device = settings.device

    def released() -> nn.Module:
        return released_network(scale, settings).eval().requires_grad_(False)

    def contender(variant: Variant, *, captured: bool = False) -> Contender:
        def make() -> Any:
            network = variant.change(released())
            call = network if variant.dtype == "float32" else torch.autocast(device, torch.bfloat16)(network.__call__)
            return in_graph(call) if captured else call

        return Contender(make, dtype=variant.dtype)

    mode = "max-autotune-no-cudagraphs" if device == "cpu" else "max-autotune"
    variants = of_network(settings, compiles=compiles, mode=mode)
    found = {name: contender(variant) for name, variant in variants.items()}
    if device == "cuda":
        captured = {"released": "released, CUDA graph", "released, bf16": "released, CUDA graph bf16"}
        found |= {name: contender(variants[of], captured=True) for of, name in captured.items() if of in variants}
    if not settings.quick:
        found |= runtimes.contenders(scale, settings, lambda: ours(released(), scale))
    found["dasr-fast"] = Contender(lambda: ours(released(), scale).requires_grad_(False))
    precisions = {"fp32": "float32"} | ({} if settings.quick else {"bf16": "bfloat16"})
    precisions |= {"tf32": "float32", "fp16": "float16"} if device == "cuda" else {}
    for name, dtype in precisions.items():
        engine = partial(lambda precision: Engine(ours(released(), scale), precision), name)
        found[f"Engine {name}"] = Contender(engine, dtype=dtype)
    return found


def released_network(scale: int, settings: Settings) -> nn.Module:
    """The baseline's network on the device; its weights are always the same."""
    torch.manual_seed(0)
    return find_baseline(settings.reference, settings.device).network(scale).to(settings.device)


def plain_network(scale: int, settings: Settings) -> Blind:
    """The same by PyTorch's operations alone, in float64: the reference of all contenders."""
    network = Blind(scale)
    network.load_state_dict(released_network(scale, settings).state_dict())
    return network.to(settings.device).double()


def ours(network: nn.Module, scale: int) -> BlindSR:
    """`BlindSR` with the weights of the baseline's network, on its device and in its mode."""
    model = BlindSR(scale)
    model.load_state_dict(network.state_dict())
    return model.to(next(network.parameters()).device).train(network.training)


def smooth_images(batch: int, height: int, width: int) -> Tensor:
    """Random images `[batch, 3, height, width]` of whole numbers in 0 to 255, always the same."""
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(batch, 3, height // 4 + 1, width // 4 + 1, generator=generator)
    return nn.functional.interpolate(small, (height, width), mode="bilinear").mul_(255).round_()


def places(case: Case) -> list[tuple[slice, ...]]:
    """What of the SR images is compared: all of a small one, else two opposite corners, of the first and the last."""
    every = slice(None)
    if case.batch == 1 and case.width * case.height <= WHOLE:
        return [(every, every, every, every)]
    inner = INNER * case.scale
    first, last = slice(0, inner), slice(-inner, None)
    return [(slice(0, 1), every, first, first), (slice(-1, None), every, last, last)]


def expected_at(place: tuple[slice, ...], lr: Tensor, network: Blind) -> Tensor:
    """What belongs at a place by a network in float64, from as much of the images as has an influence on it."""
    samples, _, rows, columns = place
    image = lr[samples].double()
    window = image[:, :, _influential(rows), _influential(columns)]
    return network.G(window, network.E(image, image))[:, :, rows, columns]


def _influential(place: slice) -> slice:
    if place == slice(None):
        return place
    return slice(0, INNER + REACH) if place.start == 0 else slice(-INNER - REACH, None)


@cache
def operations(case: Case) -> int:
    """Of the released network, whose convolutions are direct ones."""
    with torch.device("meta"):
        network, lr = Blind(case.scale).eval(), torch.empty(case.batch, 3, case.height, case.width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(lr)
    return int(counter.get_total_flops())
