from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from training.small_run import small_settings

from dasr_fast.evaluation import evaluate_pair
from dasr_fast.evaluation.protocol import bicubic
from dasr_fast.images import read_image
from dasr_fast.pairs import pairs
from dasr_fast.processes import Processes
from dasr_fast.training.configuration import configure
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.pairs import LRImages, PairedPatches
from dasr_fast.training.trainer import Trainer
from dasr_fast.training.validation import validate_pairs


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """HR images whose pixels tell their place, and LR images that are every second pixel of them."""
    random = np.random.default_rng(0)
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    hr.mkdir()
    lr.mkdir()
    for name, height, width in (("a", 71, 80), ("b", 64, 90), ("c", 80, 65), ("d", 70, 70)):
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(hr / f"{name}.png")
        small = np.ascontiguousarray(pixels[: height // 2 * 2 : 2, : width // 2 * 2 : 2])
        Image.fromarray(small).save(lr / f"{name}x2.png")
    return hr, lr


def opened(folders: tuple[Path, Path]) -> tuple[ImageCache, LRImages]:
    hr, lr = folders
    images = ImageCache.open(hr, hr.parent / "cache", smallest=32)
    return images, LRImages(images, lr, hr.parent / "cache", 2)


def test_patches_show_the_same_place(folders: tuple[Path, Path]):
    images, lr = opened(folders)
    patches = PairedPatches(images, lr, scale=2, size=32, batch=4, seed=1)
    seen = set()
    for step in range(8):
        for high, low in zip(*(batch.flatten(0, 1) for batch in patches(step)), strict=True):
            assert low.shape == (3, 16, 16)
            kept = [(i, j) for i in (0, 1) for j in (0, 1) if torch.equal(high[:, i::2, j::2], low)]
            assert len(kept) == 1  # Which pixel of four was kept depends on the flips.
            seen.update(kept)
        assert all(torch.equal(x, y) for x, y in zip(patches(step), patches(step), strict=True))
    assert seen == {(0, 0), (0, 1), (1, 0), (1, 1)}
    ranks = [PairedPatches(images, lr, scale=2, size=32, batch=2, seed=1, rank=rank, world=2) for rank in (0, 1)]
    for whole, *parts in zip(patches(3), *(rank(3) for rank in ranks), strict=True):
        assert torch.equal(torch.cat(parts), whole)


def test_wrong_pairs(folders: tuple[Path, Path]):
    _, lr = folders
    Image.new("RGB", (40, 36)).save(lr / "ax2.png")
    with pytest.raises(ValueError, match=r"ax2\.png has 40x36 pixels; 40x35 are needed for an HR image of 80x71"):
        opened(folders)
    (lr / "ax2.png").unlink()
    with pytest.raises(ValueError, match=r"a\.png has no LR images called a or ax2"):
        opened(folders)


def test_validation_is_the_protocols(folders: tuple[Path, Path]):
    (row,) = validate_pairs(*opened(folders), bicubic(2), 2)
    scores = [
        evaluate_pair(
            read_image(path).rgb()[0], read_image(folders[1] / f"{path.stem}x2.png").rgb()[0], bicubic(2), 2
        ).psnr
        for path in sorted(folders[0].iterdir())
    ]
    assert row.psnr == pytest.approx(np.mean(scores))
    assert (row.kernel, row.noise) == ("LR of lr", None)


def test_a_run_learns_from_the_given_images(folders: tuple[Path, Path], tmp_path: Path):
    hr, lr = folders
    settings = small_settings(hr) | {"lr": lr, "validation": hr, "validation_lr": lr}
    run = tmp_path / "run"
    run.mkdir()
    trainer = Trainer(configure(None, settings), run, Processes(torch.device("cpu")))
    seen = []
    step = trainer.step

    def watched(*arguments: torch.Tensor) -> dict[str, torch.Tensor]:
        seen.append(arguments)
        return step(*arguments)

    trainer.step = watched  # type: ignore[assignment]
    watched.optimizer = step.optimizer  # type: ignore[attr-defined]
    assert trainer.train()
    _, high, indices, low = seen[0]
    assert high.shape == (4, 2, 3, 32, 32)
    assert low.shape == (4, 2, 3, 16, 16)
    assert len(indices) == 4
    assert "that of the LR images of lr" in (run / "README.md").read_text()
    assert "| LR of lr |  |  |" in (run / "README.md").read_text()


def test_names_match_with_or_without_the_scale():
    assert pairs(["a.png", "sub/b.jpg"], ["sub/bx2.png", "sub/a.png", "a.tif", "b.png"], 2) == [2, 0]


def test_what_is_missing_or_there_twice():
    with pytest.raises(ValueError, match=r"c\.png has no LR images called c or cx4"):
        pairs(["a.png", "c.png"], ["a.png"], 4)
    with pytest.raises(ValueError, match=r"a\.png has 2 LR images called a or ax4"):
        pairs(["a.png"], ["a.png", "ax4.png"], 4)
