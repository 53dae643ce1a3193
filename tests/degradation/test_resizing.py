import torch

from dasr_fast import reference
from dasr_fast.degradation.part import Draws
from dasr_fast.degradation.resizing import Resize
from dasr_fast.ops.resize import MODES


def test_every_sample_gets_its_size():
    part = Resize(((0.5, (0.2, 1.0)), (0.5, (1.0, 2.0))))
    draws = Draws(20, (30, 40), 2, torch.Generator().manual_seed(0), torch.device("cpu"))
    drawn = part.draw(draws)
    images = [torch.rand(1, 3, 30, 40) for _ in range(20)]
    numbers = drawn.numbers
    for image, result, factor, mode in zip(
        images, part.degrade(images, drawn), numbers["factor"].double(), numbers["mode"].tolist(), strict=True
    ):
        size = int(30 * factor), int(40 * factor)
        assert tuple(result.shape[-2:]) == size
        torch.testing.assert_close(result, reference.resize(image, *size, MODES[mode], False))
    assert draws.sizes.tolist() == numbers["size"].tolist()
    torch.testing.assert_close(part.describe(drawn)[:, 0], numbers["factor"].log2())


def test_a_factor_of_the_lr_size():
    part = Resize(((1.0, (0.5, 0.5)),), of_lr=True)
    drawn = part.draw(Draws(2, (82, 40), 4, None, torch.device("cpu")))
    assert drawn.numbers["size"].tolist() == [[10, 5]] * 2  # 82 / 4 / 2 rows
    assert part.describe(drawn).shape == (2, 0)
