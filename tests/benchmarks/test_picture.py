from pathlib import Path

import numpy as np
import pytest
import torch
from golden import arrays
from PIL import Image

from benchmarks.harness.picture import SETTINGS, write_picture
from dasr_fast.evaluation import evaluate_image, network
from dasr_fast.models import BlindSR


def test_side_by_side(weights: Path, tmp_path: Path):
    hr = arrays("evaluation")["hr"].numpy()
    Image.fromarray(hr).save(tmp_path / "photo.png")
    text = write_picture(tmp_path / "photo.png", str(weights), tmp_path / "picture.png")
    written = np.asarray(Image.open(tmp_path / "picture.png"))
    assert written.shape == (2 * 96, 3 * 84, 3)
    np.testing.assert_array_equal(written[:, :84], np.concatenate([hr, hr]))
    restore = network(BlindSR.from_pretrained(weights))
    score = evaluate_image(torch.from_numpy(hr).permute(2, 0, 1), "photo.png", restore, SETTINGS[0], 2)
    assert f"DASR {score.psnr:.2f} dB" in text


def test_without_weights(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="No weights at nowhere"):
        write_picture(tmp_path / "photo.png", "nowhere", tmp_path / "picture.png")
