from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import Call, one_line, pixels
from PIL import Image

from dasr_fast.models import BlindSR


def expected(weights: Path, image: Path) -> np.ndarray:
    model = BlindSR.from_pretrained(weights)
    lr = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1)[None].float()
    with torch.no_grad():
        return model(lr)[0].round().clamp(0, 255).permute(1, 2, 0).byte().numpy()


def test_named_output(call: Call, photo: Path, weights: Path, tmp_path: Path):
    code, out, err = call("upscale", photo, "-o", tmp_path / "large.png", "--weights", weights, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "1 done" in out
    np.testing.assert_array_equal(pixels(tmp_path / "large.png"), expected(weights, photo))


def test_default_output_and_format(call: Call, photo: Path, weights: Path):
    assert call("upscale", photo, "--weights", weights, "--device", "cpu")[0] == 0
    assert pixels(photo.with_name("photo_x2.png")).shape == (192, 168, 3)
    assert call("upscale", photo, "--weights", weights, "--device", "cpu", "--format", "webp", "--scale", 2)[0] == 0
    assert pixels(photo.with_name("photo_x2.webp")).shape == (192, 168, 3)


def test_folder_reports_and_skips_what_it_cannot_read(call: Call, folder: Path, weights: Path, tmp_path: Path):
    code, out, err = call("upscale", folder, "-o", tmp_path / "large", "--weights", weights, "--device", "cpu")
    assert code == 1
    assert one_line(err)
    assert "b.png is not a whole image" in err
    assert "2 done, 1 failed" in out
    assert sorted(p.name for p in (tmp_path / "large").iterdir()) == ["a.png", "c.tif"]
    np.testing.assert_array_equal(pixels(tmp_path / "large" / "a.png"), expected(weights, folder / "a.png"))


def test_nothing_is_overwritten_unasked(call: Call, photo: Path, weights: Path, tmp_path: Path):
    target = tmp_path / "large.png"
    target.write_text("precious")
    code, _, err = call("upscale", photo, "-o", target, "--weights", weights, "--device", "cpu")
    assert code == 1
    assert one_line(err)
    assert "large.png exists already; --overwrite replaces it" in err
    assert target.read_text() == "precious"
    assert call("upscale", photo, "-o", target, "--weights", weights, "--device", "cpu", "--overwrite")[0] == 0
    assert pixels(target).shape == (192, 168, 3)
    before = photo.read_bytes()
    assert call("upscale", photo, "-o", photo.parent / "", "--weights", weights, "--device", "cpu")[0] == 1
    assert photo.read_bytes() == before


def test_grey_alpha_and_16_bits_are_kept(call: Call, weights: Path, tmp_path: Path):
    grey = np.arange(300, dtype=np.uint16).reshape(15, 20) * 200
    Image.fromarray(grey).save(tmp_path / "deep.png")
    alpha = Image.fromarray(np.full((10, 12, 4), (10, 20, 30, 128), np.uint8))
    alpha.save(tmp_path / "alpha.png")
    for name in ("deep", "alpha"):
        assert call("upscale", tmp_path / f"{name}.png", "--weights", weights, "--device", "cpu")[0] == 0
    deep = pixels(tmp_path / "deep_x2.png")
    assert deep.shape == (30, 40)
    assert deep.max() > 255
    assert (pixels(tmp_path / "alpha_x2.png")[:, :, 3] == 128).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photo}", "--scale", "5"], "5 is not in the range 2<=x<=4"),
        (["{photo}", "--weights", "{weights}", "--scale", "4"], "are weights for scale 2, not 4"),
        (["{photo}", "--weights", "nowhere.pt"], "No weights at nowhere.pt"),
        (["{photo}", "--weights", "{photo}"], "photo.png is not a checkpoint that PyTorch can read"),
        (["nowhere.png", "--weights", "{weights}"], "There is no file or folder nowhere.png"),
        (["{empty}", "--weights", "{weights}"], "holds no image"),
        (["{folder}", "-o", "one.png", "--weights", "{weights}"], "can't all go into the file one.png"),
        (["{folder}", "-o", "{photo}/x", "--weights", "{weights}"], "is not a folder"),
        (["{twins}", "--format", "png", "--weights", "{weights}"], "Two images would both be written to"),
        (["{photo}", "--device", "cuda", "--weights", "{weights}"], "There is no NVIDIA GPU"),
        (["{photo}", "-o", "out.gif", "--weights", "{weights}"], "out.gif: images are written as .png"),
        (
            ["{photo}", "-o", "a.jpg", "--format", "png", "--weights", "{weights}"],
            "a.jpg isn't a name for the format png",
        ),
        ([], "Missing argument 'SOURCE'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    call: Call, photo: Path, folder: Path, weights: Path, tmp_path: Path, arguments: list[str], message: str
):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "empty").mkdir()
    (tmp_path / "twins").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.open(photo).save(tmp_path / "twins" / name)
    places = {name: tmp_path / name for name in ("empty", "twins")} | {
        "photo": photo,
        "folder": folder,
        "weights": weights,
    }
    before = sorted(tmp_path.rglob("*"))
    code, _, err = call("upscale", *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert one_line(err)
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_network_that_gives_nan_writes_nothing(call: Call, photo: Path, tmp_path: Path):
    from dasr_fast.models import save_weights

    model = BlindSR(2, channels=8, groups=1, blocks=1)
    with torch.no_grad():
        model.G.head[0].weight.fill_(3e38)
    save_weights(model, tmp_path / "huge.pt")
    code, _, err = call("upscale", photo, "--weights", tmp_path / "huge.pt", "--device", "cpu")
    assert code == 1
    assert "photo.png: The network's result holds NaN or infinity." in err
    assert not (tmp_path / "photo_x2.png").exists()
