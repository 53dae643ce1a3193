from pathlib import Path

import numpy as np
import pytest
import torch
from golden import arrays
from PIL import Image

from benchmarks.harness.picture import SETTINGS, write_picture
from dasr_fast.evaluation import evaluate_image, network
from dasr_fast.models import BlindSR, save_weights


def test_side_by_side(tmp_path: Path):
    model = BlindSR(2, channels=8, groups=1, blocks=1).eval()
    save_weights(model, tmp_path / "small.safetensors")
    hr = arrays("evaluation")["hr"].numpy()
    Image.fromarray(hr).save(tmp_path / "photo.png")
    text = write_picture(tmp_path / "photo.png", str(tmp_path / "small.safetensors"), tmp_path / "picture.png")
    written = np.asarray(Image.open(tmp_path / "picture.png"))
    assert written.shape == (2 * 96, 3 * 84, 3)
    np.testing.assert_array_equal(written[:, :84], np.concatenate([hr, hr]))
    score = evaluate_image(torch.from_numpy(hr).permute(2, 0, 1), "photo.png", network(model), SETTINGS[0], 2)
    assert f"DASR {score.psnr:.2f} dB" in text


def test_without_weights(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="No weights at nowhere"):
        write_picture(tmp_path / "photo.png", "nowhere", tmp_path / "picture.png")
