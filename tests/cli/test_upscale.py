import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import Call, fails, one_line, pixels
from PIL import Image
from training.small_run import ENVIRONMENT, TORCHRUN

from dasr_fast.inference.executor import Executor
from dasr_fast.models import BlindSR
from dasr_fast.models.checkpoint import SHIPPED


def expected(weights: Path, image: Path) -> np.ndarray:
    """In float64, and not rounded."""
    model = BlindSR.from_pretrained(weights).double()
    pixels = np.array(Image.open(image))
    lr, padded = (
        torch.from_numpy(np.pad(pixels, ((n, n), (n, n), (0, 0)), mode="edge")).permute(2, 0, 1)[None].double()
        for n in (0, 8)
    )
    with torch.no_grad():
        sr = model.restore(padded, model.encode(lr))[0].clamp(0, 255).permute(1, 2, 0).numpy()
    return sr[8 * model.scale : -8 * model.scale, 8 * model.scale : -8 * model.scale]


@pytest.fixture
def upscale(call: Call, weights: Path) -> Call:
    """`dasr-fast upscale` with the small model."""
    return partial(call, "upscale", "--weights", weights, "--device", "cpu")


def assert_rounded(actual: np.ndarray, unrounded: np.ndarray) -> None:
    """Values near the middle between two whole numbers may become either."""
    np.testing.assert_allclose(actual.astype(float), unrounded, rtol=0, atol=0.501)


def test_weights_that_come_with_the_package(call: Call, photo: Path):
    assert call("upscale", photo, "--device", "cpu")[::2] == (0, "")
    assert_rounded(pixels(photo.with_name("photo_x4.png")), expected(SHIPPED / "x4-photo.safetensors", photo))


def test_named_output(upscale: Call, photo: Path, weights: Path, tmp_path: Path):
    code, out, err = upscale(photo, "-o", tmp_path / "large.png")
    assert (code, out, err) == (0, f"Upscaled to {tmp_path / 'large.png'} in fp32: 1 done\n", "")
    assert_rounded(pixels(tmp_path / "large.png"), expected(weights, photo))


def test_default_output_and_format(upscale: Call, photo: Path):
    assert upscale(photo)[0] == 0
    assert pixels(photo.with_name("photo_x2.png")).shape == (192, 168, 3)
    assert upscale(photo, "--format", "webp", "--scale", 2)[0] == 0
    assert pixels(photo.with_name("photo_x2.webp")).shape == (192, 168, 3)


def test_folder_reports_and_skips_what_it_cannot_read(upscale: Call, folder: Path, weights: Path, tmp_path: Path):
    code, out, err = upscale(folder, "-o", tmp_path / "large")
    assert code == 1
    assert one_line(err)
    assert "b.png is not a whole image" in err
    assert "2 done, 1 failed" in out
    assert sorted(p.name for p in (tmp_path / "large").iterdir()) == ["a.png", "c.tif"]
    assert_rounded(pixels(tmp_path / "large" / "a.png"), expected(weights, folder / "a.png"))


def test_nothing_is_overwritten_unasked(upscale: Call, photo: Path, tmp_path: Path):
    target = tmp_path / "large.png"
    target.write_text("precious")
    fails(upscale, 1, "large.png exists already; --overwrite replaces it", photo, "-o", target)
    assert (target.read_text(), upscale(photo, "-o", target, "--overwrite")[0]) == ("precious", 0)
    assert pixels(target).shape == (192, 168, 3)
    before = photo.read_bytes()
    assert (upscale(photo, "-o", photo.parent / "")[0], photo.read_bytes()) == (1, before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photo}", "--scale", "5"], "5 is not in the range 2<=x<=4"),
        (["{photo}", "--scale", "4"], "are weights for scale 2, not 4"),
        (["{photo}", "--weights", "nowhere.pt"], "No weights at nowhere.pt"),
        (["{photo}", "--weights", "{photo}"], "photo.png is not a checkpoint that PyTorch can read"),
        (["nowhere.png"], "There is no file or folder nowhere.png"),
        (["{empty}"], "holds no image"),
        (["{folder}", "-o", "one.png"], "can't all go into the file one.png"),
        (["{folder}", "-o", "{photo}/x"], "is not a folder"),
        (["{twins}", "--format", "png"], "Two images would both be written to"),
        (["{photo}", "--device", "cuda"], "There is no NVIDIA GPU"),
        (["{photo}", "-o", "out.bmp"], "out.bmp: images are written as .png"),
        (["{photo}", "-o", "a.jpg", "--format", "png"], "a.jpg isn't a name for the format png"),
        (["{photo}", "--precision", "int8"], "'int8' is not one of 'auto', 'fp32', 'tf32'"),
        (["{photo}", "--precision", "tf32", "--device", "cpu"], "tf32 needs an NVIDIA GPU"),
        (["{photo}", "--tile", "63"], "63 is neither auto, nor 0, nor a whole number from 64"),
        (["{photo}", "--tile", "-1"], "-1 is neither auto"),
        (["{photo}", "--tile", "big"], "big is neither auto"),
        (["{pair}", "-o", "{empty}", "--compare"], "would both be written to"),
        ([], "Missing argument 'SOURCE...'"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    upscale: Call, photo: Path, folder: Path, tmp_path: Path, arguments: list[str], message: str
):
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    (tmp_path / "empty").mkdir()
    (tmp_path / "twins").mkdir()
    for name in ("a.png", "a.jpg"):
        Image.open(photo).save(tmp_path / "twins" / name)
    (tmp_path / "pair").mkdir()
    for name in ("a.png", "a_compare.png"):
        Image.open(photo).save(tmp_path / "pair" / name)
    places = {name: tmp_path / name for name in ("empty", "twins", "pair")} | {"photo": photo, "folder": folder}
    before = sorted(tmp_path.rglob("*"))
    fails(upscale, 2, message, *(argument.format(**places) for argument in arguments))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_network_that_gives_nan_writes_nothing(upscale: Call, photo: Path, tmp_path: Path):
    from dasr_fast.models import save_weights

    model = BlindSR(2, channels=8, groups=1, blocks=1)
    with torch.no_grad():
        model.G.head[0].weight.fill_(3e38)
    save_weights(model, tmp_path / "huge.pt")
    message = "photo.png: The network's result holds NaN or infinity."
    fails(upscale, 1, message, photo, "--weights", tmp_path / "huge.pt")
    assert not (tmp_path / "photo_x2.png").exists()


def test_precision_and_tile(upscale: Call, photo: Path, weights: Path):
    result = photo.with_name("photo_x2.png")
    arguments = (photo, "--overwrite")
    for options in (("--precision", "fp32", "--tile", 64), ("--tile", 0), ("--tile", "auto")):
        assert upscale(*arguments, *options)[::2] == (0, "")
        assert_rounded(pixels(result), expected(weights, photo))
    assert upscale(*arguments, "--precision", "bf16")[::2] == (0, "")
    difference = np.abs(pixels(result).astype(int) - expected(weights, photo))
    assert 0.501 < difference.max() <= 4


def test_comparison_beside_the_result(upscale: Call, photo: Path, weights: Path, tmp_path: Path):
    arguments = (photo, "-o", tmp_path / "large.jpg", "--compare")
    assert upscale(*arguments)[::2] == (0, "")
    enlarged, bicubic, restored = np.split(pixels(tmp_path / "large_compare.png"), 3, axis=1)
    np.testing.assert_array_equal(enlarged[::2, 1::2], pixels(photo))
    upsampled = np.asarray(Image.open(photo).resize((168, 192), Image.Resampling.BICUBIC))
    assert np.abs(upsampled.astype(int) - bicubic)[4:-4, 4:-4].max() <= 3  # It rounds in between.
    assert_rounded(restored, expected(weights, photo))
    (tmp_path / "large.jpg").unlink()
    fails(upscale, 1, "large_compare.png exists already; --overwrite replaces it", *arguments)
    assert not (tmp_path / "large.jpg").exists()


@pytest.mark.parametrize(
    ("name", "output", "message"),
    [
        ("text.png", "text.png", "text.png is not a PNG, JPEG, WebP, TIFF or GIF image"),
        ("alpha.png", "alpha.jpg", "alpha.jpg: JPEG can't hold transparency; choose .png, .webp or .tif."),
        ("real.tif", "real.tif", "real.tif has pixels of type float; only 8 and 16-bit integers are supported."),
    ],
)
def test_images_that_cannot_be_used(
    upscale: Call, tmp_path: Path, name: str, output: str, message: str, monkeypatch: pytest.MonkeyPatch
):
    # Large images take minutes, after which it would be late to find this out.
    monkeypatch.setattr(Executor, "restore", lambda *_: pytest.fail("It was computed."))
    source = tmp_path / name
    if name == "text.png":
        source.write_text("no image")
    elif name == "alpha.png":
        Image.new("RGBA", (8, 9)).save(source)
    else:
        Image.new("F", (8, 9)).save(source)
    (tmp_path / "out").mkdir()
    fails(upscale, 1, message, source, "-o", tmp_path / "out" / output)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_finished_folder_is_not_made_again(upscale: Call, folder: Path, tmp_path: Path):
    (folder / "b.png").unlink()
    arguments = (folder, "-o", tmp_path / "large", "--compare")
    assert upscale(*arguments)[0] == 0
    (tmp_path / "large" / "a.png").unlink()
    code, out, err = upscale(*arguments)
    assert code == 1
    assert "0 done, 1 there already, 1 failed" in out
    assert one_line(err)
    assert "a_compare.png exists already" in err


def test_a_warning_is_one_line(upscale: Call, photo: Path, weights: Path, monkeypatch: pytest.MonkeyPatch):
    restore = Executor.restore

    def bounded(executor: Executor, lr: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        if lr[0, 0].numel() > 6500:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return restore(executor, lr, v)

    monkeypatch.setattr(Executor, "restore", bounded)
    code, _, err = upscale(photo)
    assert (code, err) == (0, "dasr-fast: Engine: memory ran out, and tiles of 64 x 100 LR pixels are tried.\n")
    assert_rounded(pixels(photo.with_name("photo_x2.png")), expected(weights, photo))


def test_too_little_memory_is_said_and_writes_nothing(upscale: Call, photo: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: torch.Tensor) -> torch.Tensor:
        raise MemoryError

    monkeypatch.setattr(Executor, "restore", fail)
    code, _, err = upscale(photo)
    assert code == 1
    message = "Engine: there isn't enough memory on cpu for tiles of 64 LR pixels."
    assert err.splitlines()[-1] == f"dasr-fast: {photo}: {message}"
    assert not photo.with_name("photo_x2.png").exists()


def test_a_noisy_image_is_told_by_name(call: Call, tmp_path: Path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        noisy = np.linspace(30, 225, 40)[:, None] + random.normal(0, 20, (40, 40, 3))
        Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8)).save(tmp_path / f"{name}.png")
    code, out, err = call("upscale", tmp_path, "-o", tmp_path / "out", "--weights", "x2", "--device", "cpu")
    assert (code, "2 done" in out) == (0, True)
    for line, name in zip(err.splitlines(), ("a", "b"), strict=True):
        assert f"{name}.png: The result may be poor: it seems to have noise of 1" in line
        assert line.endswith("grey levels or more, and the weights were trained without noise.")


def test_subfolders_and_several_sources(upscale: Call, photo: Path, tmp_path: Path):
    tree = tmp_path / "tree"
    for place in (tree / "a.png", tree / "in" / "deep" / "a.png", tree / ".hidden" / "a.png", tree / ".a.png"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(photo.read_bytes())
    (tree / "in" / "notes.txt").write_text("no image")
    (tree / "link").symlink_to(tree / "in")
    large = tree / "large"
    code, out, err = upscale(tree, photo, "-o", large)
    assert (code, err) == (0, "")
    assert out == f"Upscaled to {large} in fp32: 3 done; left out: 2 hidden, 1 linked folders, 1 of other formats\n"
    made = [large / "a.png", large / "in" / "deep" / "a.png", large / photo.name]
    assert sorted(path for path in large.rglob("*") if path.is_file()) == sorted(made)
    assert upscale(tree, photo, "-o", large)[:2] == (0, out.replace("3 done", "0 done, 3 there already"))
    assert upscale(tree)[0] == 0  # What lies in "large" is no result of this call.
    assert (tmp_path / "tree_x2" / "large" / "in" / "deep" / "a.png").is_file()
    fails(upscale, 2, "name a folder", tree, photo, "-o", tmp_path / "one.png")
    twice = tree / "a.png", tree / "in" / "deep" / "a.png"
    fails(upscale, 2, "would both be written to", *twice, "-o", tmp_path / "two")


@pytest.mark.slow
def test_processes_share_the_images(upscale: Call, folder: Path, weights: Path, tmp_path: Path):
    (folder / "d.png").write_bytes((folder / "a.png").read_bytes())
    assert upscale(folder, "-o", tmp_path / "one")[0] == 1
    options = ["--weights", str(weights), "--device", "cpu", "--precision", "fp32"]
    command = [*TORCHRUN, "-m", "dasr_fast", "upscale", str(folder), "-o", str(tmp_path / "two"), *options]
    shared = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    told = sorted(line.partition("fp32 ")[2] for line in shared.stdout.splitlines())
    # The broken one doesn't stop the other process.
    others = "; left out: 1 of other formats"
    assert told == [f"(process 1 of 2): 2 done{others}", "(process 2 of 2): 1 done, 1 failed"], shared.stderr
    assert shared.returncode == 1
    for name in ("a.png", "c.tif", "d.png"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_any_size(upscale: Call, photo: Path, tmp_path: Path):
    target = tmp_path / "out.png"
    whole = tmp_path / "whole.png"
    assert upscale(photo, "-o", whole)[0] == 0
    for options, size in (
        (["--factor", 1.5], (144, 126)),
        (["--width", 100], (114, 100)),
        (["--height", 120, "--width", 150], (120, 150)),
    ):
        assert upscale(photo, "-o", target, "--overwrite", *options)[::2] == (0, "")
        assert pixels(target).shape == (*size, 3)
        smaller = np.array(Image.open(whole).resize(size[::-1], Image.Resampling.LANCZOS)).astype(float)
        inner = np.s_[4:-4, 4:-4]
        assert np.abs(pixels(target).astype(float) - smaller)[inner].mean() < 1.0
    fails(upscale, 1, "are more than 2 times as many a side", photo, "-o", tmp_path / "n.png", "--width", 1000)
    fails(upscale, 2, "leave one out", photo, "--factor", 2, "--width", 9)
    fails(upscale, 2, "weights are for scale 2", photo, "--factor", 3)


def test_quality_and_losslessness(upscale: Call, photo: Path, tmp_path: Path):
    lossless, small, large = (tmp_path / f"{name}.webp" for name in ("lossless", "small", "large"))
    Image.open(photo).save(lossless, lossless=True)
    assert (upscale(lossless, "-o", large)[0], upscale(photo, "-o", tmp_path / "exact.png")[0]) == (0, 0)
    np.testing.assert_array_equal(pixels(large), pixels(tmp_path / "exact.png"))
    assert upscale(lossless, "-o", small, "--quality", 20)[0] == 0
    assert small.stat().st_size < large.stat().st_size / 4


@pytest.mark.parametrize("representation", ["each", "first", "shot"])
@pytest.mark.parametrize(
    ("source", "target"), [("a.gif", "large.png"), ("a.webp", "large.webp"), ("a.tif", "large.tif")]
)
def test_frames_are_upscaled_as_images_of_their_own(
    upscale: Call, tmp_path: Path, source: str, target: str, representation: str
):
    frames = [np.full((40, 33, 3), value, np.uint8) for value in (90, 96, 210)]  # The last is another shot.
    for number, frame in enumerate(frames):
        frame[5:25, 4 + number : 20 + number] = 30, 200, 150
        Image.fromarray(frame).save(tmp_path / f"{number}.png")
    first, *others = map(Image.fromarray, frames)
    times = {} if source == "a.tif" else {"duration": [40, 90, 60], "loop": 0}
    lossless = {"lossless": True} if source == "a.webp" else {}
    first.save(tmp_path / source, save_all=True, append_images=others, **times, **lossless)
    options = ("--representation", representation)
    assert upscale(tmp_path / source, "-o", tmp_path / target, *options)[::2] == (0, "")
    found = Image.open(tmp_path / target)
    assert found.n_frames == 3
    for number, time in enumerate((40, 90, 60)):
        found.seek(number)
        found.load()
        assert times == {} or found.info["duration"] == time
        if representation == "each" or number == 0 or (representation == "shot" and number == 2):
            assert upscale(tmp_path / f"{number}.png", "-o", tmp_path / "one.png", "--overwrite")[0] == 0
            np.testing.assert_array_equal(np.asarray(found.convert("RGB")), pixels(tmp_path / "one.png"))


def test_animations_in_folders_and_what_cannot_hold_them(upscale: Call, folder: Path, tmp_path: Path):
    (folder / "b.png").unlink()
    frames = [Image.open(folder / "a.png").crop((left, 0, left + 20, 16)) for left in (0, 30)]
    frames[0].save(folder / "d.gif", save_all=True, append_images=frames[1:], duration=50)
    assert "3 done" in upscale(folder, "-o", tmp_path / "large", "--width", 30)[1]
    assert (Image.open(tmp_path / "large" / "d.gif").n_frames, pixels(tmp_path / "large" / "d.gif").shape[1]) == (2, 30)
    assert upscale(folder / "d.gif", "-o", tmp_path / "d.webp", "--compare")[::2] == (0, "")
    assert pixels(tmp_path / "d_compare.png").shape == (32, 120, 3)
    message = "d.jpg: JPEG can't hold an animation of 2 frames; choose .webp, .png or .gif."
    fails(upscale, 1, message, folder / "d.gif", "-o", tmp_path / "d.jpg")


def test_animations_that_are_too_large_for_the_memory(upscale: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dasr_fast.memory.available_memory", lambda: 10**5)
    monkeypatch.setattr(Executor, "restore", lambda *_: pytest.fail("It was computed."))
    frames = [Image.new("RGB", (60, 50), (value, 90, 30)) for value in (10, 60)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    message = "a.gif has 2 frames or pages, whose results of 120x100 pixels need 0.0 GB of memory; 0.0 GB are free."
    fails(upscale, 1, message, tmp_path / "a.gif")
