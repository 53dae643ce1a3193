from pathlib import Path
from typing import Any

import pytest
import tomlkit
import torch
from cli_helpers import Call, fails
from full_disk import files_of_at_most
from PIL import Image
from training.small_run import Settings, as_options, make_images, small_settings

from dasr_fast import precision
from dasr_fast.models import BlindSR
from dasr_fast.processes import Processes
from dasr_fast.training.configuration import configure
from dasr_fast.training.folder import owned
from dasr_fast.training.image_cache import ImageCache
from dasr_fast.training.log import read_log
from dasr_fast.training.trainer import Trainer


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return make_images(tmp_path / "training_photos")


@pytest.fixture
def settings(photos: Path) -> Settings:
    return small_settings(photos)


@pytest.fixture
def options(settings: Settings) -> list[str]:
    return as_options(settings)


def test_from_photos_to_a_larger_picture(call: Call, options: list[str], photo: Path, photos: Path, tmp_path: Path):
    odd = photos / "deeper"
    odd.mkdir()
    Image.open(photo).convert("CMYK").save(odd / "cmyk.jpg")
    Image.open(photo).resize((20, 20)).save(odd / "tiny.png")
    (odd / "half.jpg").write_bytes((odd / "cmyk.jpg").read_bytes()[:900])
    (odd / "text.png").write_text("no image")
    run = tmp_path / "runs" / "first"
    more = ["--validation", photo.parent, "--validate-every", 2, "--licence", "CC0", "--output", run]
    code, out, err = call("train", *options, *more)
    assert code == 0
    assert f"Trained to {run}" in out
    lines = err.splitlines()
    for name, reason in (("tiny", "at least 32x32 are needed"), ("half", "not a whole image"), ("text", "not a PNG")):
        assert any(line.startswith("dasr-fast: Left out: ") and name in line and reason in line for line in lines)
    assert any("step 7 of 7" in line and "images/s" in line for line in lines)
    assert any("PSNR" in line and "validation images" in line for line in lines)

    entries = read_log(run / "log.jsonl")
    assert [entry["step"] for entry in entries if entry["kind"] == "validation"] == [4, 6, 7]
    card = (run / "README.md").read_text()
    for text in ("| licence | CC0 |", "7 images of training_photos", "7 of 7, batch 4", "| (1.0, 0.2, 0) | 10 |"):
        assert text in card
    last = entries[-1]["rows"][0]
    assert f"| {last['psnr']:.2f} | {last['ssim']:.4f} |" in card

    weights = run / "weights.safetensors"
    assert BlindSR.from_pretrained(weights).scale == 2
    assert call("upscale", photo, "--weights", weights, "--device", "cpu", "-o", tmp_path / "large.png")[0] == 0
    width, height = Image.open(photo).size
    assert Image.open(tmp_path / "large.png").size == (2 * width, 2 * height)
    assert call("evaluate", photo, "--method", weights, "--device", "cpu")[0] == 0


def test_a_file_of_settings_and_options_over_it(call: Call, settings: Settings, photos: Path, tmp_path: Path):
    file, run = tmp_path / "run.toml", tmp_path / "run"
    texts = {name: str(value) for name, value in settings.items() if isinstance(value, Path)}
    file.write_text(tomlkit.dumps({**settings, **texts, "seed": 5}))
    assert call("train", "--config", file, "--steps", 2, "--encoder-steps", 0, "--output", run)[0] == 0
    stored = configure(run / "configuration.toml", {})
    assert (stored.seed, stored.steps, stored.encoder_steps, stored.batch) == (5, 2, 0, 4)
    assert (stored.precision, stored.device, stored.data) == ("fp32", "cpu", photos)


@pytest.mark.parametrize("emulated", [True, False])
def test_an_emulated_type_is_said(call: Call, options: list[str], tmp_path: Path, monkeypatch, emulated: bool):
    monkeypatch.setattr(precision, "emulates_bfloat16", lambda device: emulated)
    monkeypatch.setattr(Trainer, "train", lambda *_: True)
    more = ["--steps", 1, "--encoder-steps", 0, "--precision", "bf16", "--output", tmp_path / "run"]
    code, _, err = call("train", *options, *more)
    assert code == 0
    assert ("dasr-fast: bf16 is emulated on this processor, many times slower than fp32." in err) == emulated


def test_resuming_and_its_mistakes(call: Call, options: list[str], photos: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert call("train", *options, "--output", run)[0] == 0
    log = (run / "log.jsonl").read_text()
    code, out, err = call("train", "--resume", run, "--log-every", 5)
    assert (code, err) == (0, "")
    assert "Trained to" in out
    assert (run / "log.jsonl").read_text() == log
    other = "batch = 4, and can't be resumed with 8; a new run can begin with its weights: --initial-weights"
    for arguments, message in (
        (["--resume", run, "--batch", 8], other),
        (["--resume", run, "--output", tmp_path / "other"], "leave out --config and --output"),
        (["--resume", tmp_path], "holds no run to resume"),
        ([*options, "--output", run], "exists already; name another --output, or go on with --resume"),
    ):
        fails(call, 2, message, "train", *arguments)
    (photos / "new.png").write_bytes((photos / "0.png").read_bytes())
    fails(call, 2, "holds other images than those with which the run was begun", "train", "--resume", run)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"data": "nowhere"}, "There is no folder"),
        ({"data": None}, "data is needed"),
        ({"data": "{empty}"}, "holds no image"),
        ({"patch": "40"}, "at least 80x80 are needed"),
        ({"validation": "{empty}"}, "holds no image"),
        ({"scale": "5"}, "scale should be 2, 3 or 4; got 5."),
        ({"scale": "two"}, "'two' is not a valid integer"),
        ({"precision": "tf32"}, "precision tf32 needs an NVIDIA GPU"),
        ({"precision": "fp16"}, "'fp16' is not one of 'auto', 'fp32', 'tf32', 'bf16'"),
        ({"config": "nowhere.toml"}, "There is no configuration nowhere.toml"),
        ({"queue": "2"}, "queue must be at least as large as batch"),
        ({"cache": "{file}"}, "can't be written"),
        ({"data": ""}, "'--data': it is empty."),
        ({"config": ""}, "it is empty"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    call: Call, settings: Settings, tmp_path: Path, changed: Settings, message: str
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    given = {name: value for name, value in {**settings, **changed}.items() if value is not None}
    arguments = [part.format(empty=tmp_path / "empty", file=tmp_path / "file") for part in as_options(given)]
    fails(call, 2, message, "train", *arguments, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_that_fails_exits_1(call: Call, options: list[str], photos: Path, tmp_path: Path):
    ImageCache.open(photos, tmp_path / "cache", smallest=32)
    with files_of_at_most(50_000):
        code, _, err = call("train", *options, "--output", tmp_path / "run")
    assert code == 1
    checkpoint = tmp_path / "run" / "checkpoints" / "step-00000002.pt"
    assert err.endswith(f"dasr-fast: Training ended after step 2: {checkpoint} can't be written: File too large.\n")


def test_too_large_a_batch_is_one_line(call: Call, settings: Settings, tmp_path: Path):
    options = as_options(settings | {"batch": 2**30, "representation": "sr-loss"})
    message = "Training ended after step 0: there isn't enough memory; a smaller --batch"
    fails(call, 1, message, "train", *options, "--output", tmp_path / "run")


def test_what_happens_around_the_folder_of_a_run(call: Call, options: list[str], tmp_path: Path):
    run, log = tmp_path / "run", tmp_path / "run" / "log.jsonl"
    assert call("train", *options, "--output", run)[0] == 0
    (run / "checkpoints" / "step-00000007.pt").write_bytes(b"")
    code, _, err = call("train", "--resume", run)
    assert code == 0
    assert err.startswith("dasr-fast: ")
    assert "step-00000007.pt is not a" in err
    assert "The run goes on from step 6." in err
    with owned(run, Processes(torch.device("cpu"))):
        before = log.read_bytes()
        fails(call, 2, f"{run} is in use by another process that trains", "train", "--resume", run)
    assert log.read_bytes() == before
    assert call("upscale", tmp_path / "training_photos", "-o", tmp_path / "large", "--weights", run)[0] == 0


def test_a_folder_that_another_run_takes_meanwhile(call: Call, options: list[str], tmp_path: Path, monkeypatch):
    run = tmp_path / "run"

    class Slow(Trainer):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            run.mkdir()
            (run / "configuration.toml").write_text("another's")

    monkeypatch.setattr("dasr_fast.training.trainer.Trainer", Slow)
    fails(call, 2, "exists already; name another --output", "train", *options, "--output", run)
    assert (run / "configuration.toml").read_text() == "another's"


def test_help_tells_defaults(call: Call):
    code, out, _ = call("train", "--help")
    assert code == 0
    assert "[default: 97000]" in out
    assert "--no-pt" in out
