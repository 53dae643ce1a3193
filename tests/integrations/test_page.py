import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dasr_fast.cli import run
from dasr_fast.images import Picture, read_image, write_image
from dasr_fast.inference.any_image import shared_engine
from dasr_fast.inference.pictures import bicubic, upscale
from dasr_fast.integrations import page
from dasr_fast.models import BlindSR
from dasr_fast.models.checkpoint import save_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    network = BlindSR(2, groups=1, blocks=1)
    network.noise = 0.0
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(network, path)
    return str(path)


def picture(depth: Any = np.uint8, noise: float = 0.0) -> Picture:
    plane = np.linspace(30, 220, 40)[:, None, None] + np.random.default_rng(0).normal(0, noise, (40, 36, 3))
    white = np.iinfo(depth).max
    return Picture((plane.clip(0, 255) / 255 * white).round().astype(depth))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_the_strength_mixes_bicubic_and_the_network(weights: str, depth: Any):
    lr = picture(depth)
    right = bicubic(lr, 2), upscale(shared_engine(weights, "cpu"), lr).pixels
    for strength in (0.0, 0.25, 1.0):
        before, after, found = page.restored(lr, weights, strength, "cpu")
        np.testing.assert_array_equal(before.pixels, right[0])
        mixed = right[0] + strength * (right[1].astype(float) - right[0])
        np.testing.assert_allclose(after.pixels, mixed, rtol=0, atol=0.51)
        assert found.startswith("36 x 40 became 72 x 80 pixels.")


def test_what_the_weights_do_not_know_is_said(weights: str):
    doubt = "**The result may be poor: it seems to have noise of"
    assert [doubt in page.restored(picture(noise=noise), weights, 1, "cpu")[2] for noise in (0, 25)] == [False, True]


def test_the_page_itself(tmp_path: Path):
    gradio = pytest.importorskip("gradio")
    (function,) = (one.fn for one in page.make("cpu").fns.values())
    with pytest.raises(gradio.Error, match=r"Drop a picture first\."):
        function(None, "x2", 1)
    (tmp_path / "broken.png").write_text("no picture")
    with pytest.raises(gradio.Error, match="is not a PNG"):
        function(str(tmp_path / "broken.png"), "x2", 1)
    write_image(tmp_path / "photo.png", picture())
    (before, after), found, file = function(str(tmp_path / "photo.png"), "x2", 1)
    assert (before.shape, after.shape) == ((80, 72, 3), (80, 72, 3))
    assert "became 72 x 80" in found
    np.testing.assert_array_equal(read_image(file).pixels, after)


def test_without_gradio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert run(["demo"]) == 2
    assert capsys.readouterr().err == "dasr-fast: The page needs gradio: pip install 'dasr-fast[demo]'.\n"
