"""Patches against plain indexing and against every patch that there is."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast.training.background import computed_ahead
from dasr_fast.training.patches import Patches, augmented

RANDOM = np.random.default_rng(0)


def numbered(index: int, height: int, width: int) -> np.ndarray:
    """An image whose pixels tell which image, row and column they are."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([np.full_like(rows, index), rows, columns], -1).astype(np.uint8)


IMAGES = [numbered(index, *shape) for index, shape in enumerate([(9, 12), (5, 5), (20, 7), (5, 30), (8, 8)])]


def every_patch(image: np.ndarray, size: int) -> dict[bytes, tuple[int, int, int]]:
    """Each patch, augmented in all eight ways, by its bytes: augmentation, top, left."""
    height, width = image.shape[:2]
    found = {}
    for top in range(height - size + 1):
        for left in range(width - size + 1):
            window = image[top : top + size, left : left + size]
            for turns in range(4):
                for mirrored in range(2):
                    turned = np.rot90(window, turns)
                    turned = turned[:, ::-1] if mirrored else turned
                    found[turned.transpose(2, 0, 1).tobytes()] = (2 * turns + mirrored, top, left)
    return found


def test_augmentations_are_the_eight_of_a_square():
    image = RANDOM.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    ours = [augmented(image, number).tobytes() for number in range(8)]
    rotations = [np.rot90(image, turns, (1, 2)) for turns in range(4)]
    assert set(ours) == {view.tobytes() for turned in rotations for view in (turned, turned[:, :, ::-1])}
    assert len(set(ours)) == 8


def test_every_offset_and_augmentation_is_drawn_evenly():
    size, steps = 5, 400
    patches = Patches(IMAGES, size=size, patches=3, batch=4, seed=3)
    tables = [every_patch(image, size) for image in IMAGES]
    drawn = [Counter() for _ in IMAGES]
    for step in range(steps):
        for index, sample in zip(patches.indices(step).tolist(), patches(step).numpy(), strict=True):
            found = [tables[index][patch.tobytes()] for patch in sample]
            assert len({augmentation for augmentation, _, _ in found}) == 1  # One augmentation for an image's patches.
            drawn[index].update(("offset", top, left) for _, top, left in found)
            drawn[index]["augmentation", found[0][0]] += 1
    for image, count in zip(IMAGES, drawn, strict=True):
        draws = steps * 4 / len(IMAGES)
        offsets = (image.shape[0] - size + 1) * (image.shape[1] - size + 1)
        assert sum(kind == "offset" for kind, *_ in count) == offsets
        assert sum(kind == "augmentation" for kind, *_ in count) == 8
        for (kind, *_), times in count.items():
            expected = draws * 3 / offsets if kind == "offset" else draws / 8
            assert abs(times - expected) < 5 * expected**0.5  # Five standard deviations.


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 7), st.integers(1, 6), st.integers(0, 2**64 - 1))
def test_epochs_are_permutations(count: int, batch: int, seed: int):
    patches = Patches([IMAGES[0]] * count, size=1, patches=1, batch=batch, seed=seed)
    order = torch.cat([patches.indices(step) for step in range(4 * count)]).reshape(-1, count)
    for epoch in order:
        assert sorted(epoch.tolist()) == list(range(count))


def test_every_epoch_has_an_order_of_its_own():
    patches = Patches([IMAGES[0]] * 20, size=1, batch=20, seed=0)
    assert len({tuple(patches.indices(epoch).tolist()) for epoch in range(10)}) == 10


@settings(deadline=None, max_examples=25)
@given(st.sampled_from([(6, 1), (3, 2), (2, 3), (1, 6)]), st.integers(0, 50))
def test_ranks_together_are_one_process(division: tuple[int, int], step: int):
    batch, world = division
    alone = Patches(IMAGES, size=4, batch=6, seed=5)
    ranks = [Patches(IMAGES, size=4, batch=batch, seed=5, rank=rank, world=world) for rank in range(world)]
    assert torch.equal(torch.cat([patches(step) for patches in ranks]), alone(step))
    assert torch.equal(torch.cat([patches.indices(step) for patches in ranks]), alone.indices(step))


def test_goes_on_after_any_step():
    through = [Patches(IMAGES, size=5, batch=3, seed=9)(step) for step in range(12)]
    for start in range(12):
        patches = Patches(IMAGES, size=5, batch=3, seed=9)
        resumed = list(computed_ahead(patches.inputs, range(start, 12), ahead=3, workers=3))
        assert [step for step, _ in resumed] == list(range(start, 12))
        assert all(torch.equal(batch, through[step]) for step, (batch, _) in resumed)
        assert all(torch.equal(indices, patches.indices(step)) for step, (_, indices) in resumed)


def test_seeds_steps_and_images_of_a_batch_are_cut_independently():
    batches = [Patches([IMAGES[2]] * 8, size=4, batch=8, seed=seed)(step) for seed in (0, 1) for step in (0, 1)]
    assert len({sample.numpy().tobytes() for batch in batches for sample in batch}) == 32


def test_batches_are_dense_bytes_of_their_own():
    patches = Patches(IMAGES, size=4, batch=3, patches=2, seed=0)
    batch = patches(0)
    assert batch.dtype == torch.uint8
    assert batch.shape == (3, 2, 3, 4, 4)
    assert batch.is_contiguous()
    expected = batch.clone()
    patches(0).zero_()
    assert torch.equal(batch, expected)
    assert torch.equal(patches(0), expected)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 0}, r"size must be a whole number of at least 1; got 0\."),
        ({"batch": 0}, r"batch must be a whole number of at least 1; got 0\."),
        ({"patches": -1}, r"patches must be .* got -1\."),
        ({"world": 0}, r"world must be .* got 0\."),
        ({"rank": 2, "world": 2}, r"rank must be from 0 to world - 1 = 1; got 2\."),
        ({"seed": -1}, r"seed must be from 0 to 2\*\*64 - 1; got -1\."),
        ({"images": []}, r"images must hold at least one image; got none\."),
    ],
)
def test_wrong_arguments(wrong: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        Patches(**{"images": IMAGES, "size": 4, "batch": 2, "seed": 0, **wrong})  # type: ignore[arg-type]


def test_images_that_are_too_small():
    patches = Patches(IMAGES, size=6, batch=5, seed=0)
    with pytest.raises(ValueError, match=r"images must have 6x6 pixels or more; got (5x5|30x5)\."):
        patches(0)
