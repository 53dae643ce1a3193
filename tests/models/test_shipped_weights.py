import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open

from dasr_fast import ops
from dasr_fast.degradation import bicubic_downsample
from dasr_fast.evaluation import bicubic, evaluate_image, network, psnr, table2
from dasr_fast.images import Picture, read_image
from dasr_fast.inference import Engine
from dasr_fast.inference.pictures import PictureWarning, upscale
from dasr_fast.models import BlindSR, CheckpointError
from dasr_fast.models.bounds import departure
from dasr_fast.models.checkpoint import SHIPPED

FILES = sorted(SHIPPED.glob("*.safetensors"), key=lambda path: path.stem)
PHOTO = Path(__file__).parents[2] / "benchmarks" / "photo.jpg"

each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@cache
def engine_of(path: Path) -> Engine:
    return Engine(BlindSR.from_pretrained(path.stem))


def test_there_are_weights():
    assert [path.stem for path in FILES] == ["x2", "x2-photo", "x3", "x4", "x4-isotropic", "x4-photo"]


@each
def test_files_are_small_and_described(path: Path):
    assert path.stat().st_size < 15_000_000
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
        assert {file.get_slice(key).get_dtype() for key in file.keys() if key.endswith("weight")} == {"F16"}  # noqa: SIM118
    assert path.stem.split("-")[0] == f"x{metadata['scale']}"
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    assert f"| steps | {metadata['step']} " in card
    assert f"| licence | {metadata['licence']} |" in card


@each
def test_they_restore_better_than_bicubic_upsampling(path: Path):
    model = BlindSR.from_pretrained(path.stem)
    assert next(model.parameters()).dtype == torch.float32
    hr = read_image(PHOTO).rgb()[0][:, :320, :320]
    ours, theirs = (
        evaluate_image(hr, PHOTO.name, restore, table2(model.scale)[2], model.scale)
        for restore in (network(model), bicubic(model.scale))
    )
    assert ours.psnr > theirs.psnr + 1
    assert ours.ssim > theirs.ssim


def test_blocks_of_a_jpeg_may_begin_anywhere():
    engine = engine_of(SHIPPED / "x4-photo.safetensors")
    hr = read_image(PHOTO).rgb()[:, :, :320, :320]
    lr = bicubic_downsample(hr, engine.scale)
    scores = []
    for begin in (0, 1, 4, 11):  # Pixels before the picture, which was cut out afterwards.
        larger = F.pad(lr, (begin, 16 - begin) * 2, mode="replicate")
        compressed = ops.jpeg(larger, 40)[..., begin : begin + lr.shape[2], begin : begin + lr.shape[3]]
        scores.append(psnr(engine(compressed).round().clamp(0, 255), hr, border=engine.scale).item())
    assert max(scores) - min(scores) < 0.4


def test_damaged_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "x4.safetensors"
    x4 = SHIPPED / "x4.safetensors"
    content = bytearray(x4.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    path.with_suffix(".md").write_text(x4.with_suffix(".md").read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr("dasr_fast.models.checkpoint.SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match=r"x4\.safetensors is damaged: x4\.md beside it has another SHA-256"):
        BlindSR.from_pretrained("x4")


@each
def test_photographs_are_inside_the_bounds_of_the_training(path: Path):
    model = BlindSR.from_pretrained(path.stem)
    assert model.noise == {"x4": 25, "x2-photo": 16, "x4-photo": 16}.get(path.stem, 0)
    hr = read_image(PHOTO).rgb()[:, :, :320, :320]
    for setting in table2(model.scale):
        lr, _ = setting.degradation(model.scale)(hr)
        assert departure(model.encode(lr), model.G.bounds) < 1


@each
def test_a_checker_keeps_its_mean(path: Path):
    checker = (255 * np.indices((16, 16)).sum(0) % 510).astype(np.uint8)[:, :, None]
    with pytest.warns(PictureWarning, match="The result may be poor"):
        sr = upscale(engine_of(path), Picture(checker)).pixels
    assert abs(sr.mean() - 127.5) < 5
    for half in (*np.split(sr, 2), *np.split(sr, 2, axis=1)):
        assert abs(half.mean() - 127.5) < 10


@each
@pytest.mark.parametrize("shape", [(20, 20), (1, 40), (1, 1)])
def test_flat_pictures_stay_flat(path: Path, shape: tuple[int, int]):
    for colour in ((255, 255, 255), (0, 0, 0), (255, 0, 0), (100, 150, 200)):
        sr = upscale(engine_of(path), Picture(np.full((*shape, 3), colour, np.uint8))).pixels
        assert np.abs(sr.astype(int) - colour).max() <= 2
