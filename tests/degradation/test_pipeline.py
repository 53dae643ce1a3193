import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from dasr_fast.cli.common import PRESETS as CHOICES
from dasr_fast.degradation import AnyOrder, Chain, Jpeg, Part, Pipeline, Resize, preset
from dasr_fast.degradation.part import Draws, Parameters
from dasr_fast.degradation.presets import PRESETS
from dasr_fast.training.configuration import Configuration

CPU = torch.device("cpu")
PIPELINES = [name for name in PRESETS if name != "paper"]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", PIPELINES)
def test_the_seed_decides_and_samples_are_independent(name: str):
    hr = torch.randint(0, 256, (6, 2, 3, 64, 48)).byte()
    degradation = preset(name, 4)
    lr, drawn = degradation(hr, generator=seeded(5))
    assert torch.equal(degradation(hr, generator=seeded(5))[0], lr)
    assert not torch.equal(degradation(hr, generator=seeded(6))[0], lr)
    generator = seeded(5)
    degradation(hr, generator=generator)
    assert not torch.equal(degradation(hr, generator=generator)[0], lr)
    apart = degradation.draw(hr.shape, CPU, seeded(5))
    assert torch.equal(degradation.degrade(hr[2:4], apart[2:4]), lr[2:4])
    assert torch.equal(degradation.degrade(hr[[4, 1]], apart[[4, 1]]), lr[[4, 1]])
    torch.testing.assert_close(degradation.describe(drawn), degradation.describe(apart))


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_shapes_types_and_descriptions(name: str, scale: int):
    degradation = preset(name, scale)
    for shape in ((5, 3, 43, 50), (2, 2, 1, 32, 32), (0, 2, 3, 32, 32), (3, 3, 4, 5)):
        for dtype, expected in ((torch.uint8, torch.float32), (torch.float16, torch.float32)):
            lr, drawn = degradation((torch.rand(shape) * 255).to(dtype), generator=seeded(0))
            assert lr.shape == (*shape[:-2], shape[-2] // scale, shape[-1] // scale)
            assert lr.dtype == expected
            assert torch.equal(lr, lr.round().clamp(0, 255))
        numbers = degradation.describe(drawn)
        assert numbers.shape == (shape[0], sum(quantity.numbers for quantity in degradation.quantities))
        assert numbers.isfinite().all()
    assert degradation(torch.rand(1, 3, 32, 32).double())[0].dtype == torch.float64


@pytest.mark.parametrize("name", PIPELINES)
def test_patches_share_everything_but_noise(name: str):
    patch = torch.rand(16, 1, 3, 64, 64) * 255
    lr, _ = preset(name, 2)(patch.expand(-1, 2, -1, -1, -1), generator=seeded(2))
    # What differs between two patches of the same contents is noise alone, of mean 0. Grey noise of an image that was
    # made small first has 81 independent numbers.
    difference = (lr[:, 0] - lr[:, 1]).flatten(1)
    assert (difference.mean(1).abs() < 6 * difference.std(1) / math.sqrt(81) + 0.1).all()
    assert difference.abs().amax(1).count_nonzero() > 8


def test_every_preset_can_be_chosen():
    assert tuple(PRESETS) == CHOICES == get_args(Configuration.model_fields["degradation"].annotation)


class Add(Part):
    """Adds its letter's number to the digits of an image."""

    def __init__(self, digit: int) -> None:
        self.digit = digit

    def draw(self, draws: Draws) -> Parameters:
        return draws.parameters({"number": draws.whole(self.digit, self.digit)})

    def degrade(self, images: list[Tensor], drawn: Parameters) -> list[Tensor]:
        return [image * 10 + number for image, number in zip(images, drawn.numbers["number"], strict=True)]


@pytest.mark.parametrize(
    ("before", "orders"), [([], [123, 132, 213, 231, 312, 321]), ([(1, 2)], [123, 213, 231])], ids=str
)
def test_any_order_takes_every_order_as_often(before: list[tuple[int, int]], orders: list[int]):
    part, count = AnyOrder([Add(1), Add(2), Add(3)], before=before), 1000 * len(orders)
    drawn = part.draw(Draws(count, (1, 1), 1, seeded(0), CPU))
    found = torch.stack(part.degrade([torch.zeros(1, 1, 1, 1)] * count, drawn)).flatten().int()
    numbers, counts = found.unique(return_counts=True)
    assert numbers.tolist() == orders
    assert ((counts - 1000).abs() < 4 * math.sqrt(1000)).all()


def test_wrong_calls():
    degradation = Pipeline(2, Chain([Resize(of_lr=True), Jpeg()]))
    with pytest.raises(TypeError, match="hr must be a tensor; got NoneType"):
        degradation(None)
    with pytest.raises(ValueError, match=r"hr must be .* of at least 2 pixels; got \[3, 8, 8\]"):
        degradation(torch.rand(3, 8, 8))
    with pytest.raises(ValueError, match=r"of at least 2 pixels; got \[1, 3, 1, 8\]"):
        degradation(torch.rand(1, 3, 1, 8))
    with pytest.raises(TypeError, match=r"generator must be a torch\.Generator or None; got 3"):
        degradation(torch.rand(1, 3, 8, 8), generator=3)
    with pytest.raises(ValueError, match="scale must be 1, 2, 3 or 4; got 5"):
        Pipeline(5, Chain([]))
    with pytest.raises(ValueError, match="name must be paper, photo, second-order, bsrgan; got 'film'"):
        preset("film")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", PRESETS)
def test_nothing_waits_for_the_device(name: str):
    hr = torch.rand(4, 2, 3, 64, 64, device="cuda") * 255
    degradation, generator = preset(name), torch.Generator("cuda")
    degradation(hr, generator=generator)
    torch.cuda.set_sync_debug_mode("error")
    try:
        degradation(hr, generator=generator)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", PIPELINES)
def test_the_same_seed_gives_the_same_images_on_every_device(name: str):
    hr = torch.rand(4, 2, 3, 64, 64) * 255
    lr, _ = preset(name)(hr, generator=seeded(3))
    on_gpu, _ = preset(name)(hr.cuda(), generator=seeded(3))
    different = (on_gpu.cpu() - lr).abs()  # Rounding before JPEG may differ, and a step of its tables follow.
    assert different.mean() < 0.5
