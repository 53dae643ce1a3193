"""Every example runs, on small pictures, and does what it says."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from training.small_run import NETWORK, STEPS, make_images

from dasr_fast.models import BlindSR

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str, *arguments: object, **settings: Any) -> Any:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"](*map(str, arguments), **settings)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photos") / "photos", count=2)


def test_upscale(photos: Path, tmp_path: Path):
    run("upscale", photos / "0.png", tmp_path / "large.png", "x2")
    assert Image.open(tmp_path / "large.png").size == (160, 140)


def test_accelerate():
    before, after, report = run("accelerate", channels=16, size=24)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert report == "Replaced 1 DA_conv."


def test_frames(photos: Path, weights: Path, tmp_path: Path):
    run("frames", photos, tmp_path / "large", weights)
    assert [Image.open(path).size for path in sorted((tmp_path / "large").iterdir())] == [(160, 140)] * 2


def test_train(photos: Path, weights: Path, tmp_path: Path):
    settings = {**NETWORK, **STEPS, "initial_weights": str(weights), "encoder_steps": 0, "batch": 2}
    run("train", photos, tmp_path / "run", cache=tmp_path / "cache", **settings)
    assert BlindSR.from_pretrained(tmp_path / "run" / "weights.safetensors").scale == 2


def test_degrade(photos: Path):
    batches = list(run("degrade", photos, batches=2, batch=3, size=64))
    assert [(list(lr.shape), list(hr.shape)) for lr, hr in batches] == [([3, 3, 16, 16], [3, 3, 64, 64])] * 2
    assert not torch.equal(batches[0][0], batches[1][0])


def test_evaluate(photos: Path, weights: Path):
    scores = run("evaluate", photos, weights)
    assert scores["bicubic"] > scores[str(weights)] > 0  # Untrained weights restore nothing.


def test_one_op():
    first, last = run("one_op", steps=60, size=64)
    assert last < first / 4


def test_all_are_short_and_tested():
    for path in EXAMPLES.glob("*.py"):
        assert f"def test_{path.stem}(" in Path(__file__).read_text()
        assert len(path.read_text().splitlines()) < 40
