"""With spandrel itself where it is installed; of torchvision it needs names alone, for other architectures."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dasr_fast.cli import run
from dasr_fast.integrations.spandrel import Upscaler, install
from dasr_fast.models import BlindSR
from dasr_fast.models.checkpoint import SHIPPED, read_weights, save_weights

GREY_LEVEL = 1 / 255


@pytest.fixture(scope="module")
def spandrel() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        try:
            import torchvision  # noqa: F401
        except (ImportError, RuntimeError):
            for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional"):
                patch.setitem(sys.modules, name, types.ModuleType(name))
            functional = sys.modules["torchvision.transforms.functional"]
            for name in ("InterpolationMode", "rotate", "normalize"):
                setattr(functional, name, types.SimpleNamespace(BILINEAR=0, NEAREST=1, BICUBIC=2))
        module = pytest.importorskip("spandrel")
        install()
        install()  # Nothing changes.
        yield module


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(BlindSR(3, groups=1, blocks=2), path)
    return path


def image(height: int = 20, width: int = 23) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", ["released", "prefixed", "training"])
def test_checkpoints_as_people_have_them(spandrel: Any, small: Path, form: str, tmp_path: Path):
    state: dict[str, Any] = read_weights(small)
    if form == "training":  # With the key encoder and the queue.
        state = BlindSR.from_pretrained(small).state_dict()
    path = tmp_path / "model_600.pt"
    torch.save({f"module.{key}": value for key, value in state.items()} if form == "prefixed" else state, path)
    model = spandrel.ModelLoader().load_from_file(path)
    assert (model.architecture.id, model.scale, model.tags) == ("DASR", 3, ["64nf", "1x2"])
    assert model.tiling == spandrel.ModelTiling.INTERNAL
    right = spandrel.ModelLoader().load_from_file(small)(image())
    assert list(right.shape) == [1, 3, 60, 69]
    torch.testing.assert_close(model(image()), right, rtol=0, atol=0)


def test_values_that_another_model_overshot(spandrel: Any, small: Path):
    model = spandrel.ModelLoader().load_from_file(small)
    torch.testing.assert_close(model(image() * 2 - 0.5), model((image() * 2 - 0.5).clamp(0, 1)), rtol=0, atol=0)


def test_a_picture_as_the_command_line_makes_it(spandrel: Any, tmp_path: Path):
    pixels = (torch.linspace(20, 220, 23).expand(20, 3, 23).transpose(1, 2)).round().byte().numpy()
    Image.fromarray(pixels).save(tmp_path / "lr.png")
    path = SHIPPED / "x2.safetensors"
    assert run(["upscale", str(tmp_path / "lr.png"), "-o", str(tmp_path / "sr.png"), "--weights", str(path)]) == 0
    model = spandrel.ModelLoader().load_from_file(path)
    sr = model(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)[0].permute(1, 2, 0).numpy()
    assert np.abs(sr - np.asarray(Image.open(tmp_path / "sr.png")) / 255).max() < GREY_LEVEL
    assert model.model.engine().bounds is not None  # Which the state dict doesn't hold.


def test_other_architectures_are_still_found(spandrel: Any):
    from spandrel.architectures.SPAN import SPAN

    other = SPAN(num_in_ch=3, num_out_ch=3, feature_channels=8)
    assert spandrel.ModelLoader().load_from_state_dict(other.state_dict()).architecture.id == "SPAN"


def test_types_and_devices_follow_the_program(small: Path):
    model = Upscaler(read_weights(small))
    right = model(image())
    engine = model.engine()
    assert model.engine() is engine
    assert model.bfloat16().engine().precision == "bf16"
    torch.testing.assert_close(model(image()), right, rtol=0, atol=0.02)
    with torch.no_grad():
        model.float().G.tail[1].bias += 25.5
    torch.testing.assert_close(model(image()).mean() - right.mean(), torch.tensor(0.1), rtol=0, atol=0.03)


def test_without_spandrel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(ImportError, match=r"pip install 'dasr-fast\[spandrel\]'"):
        install()
