import math
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import Call, fails, pixels
from full_disk import files_of_at_most
from PIL import Image

from dasr_fast.degradation import Degradation, Pipeline, gaussian_kernel, image_generator, preset


def degraded(photo: Path, degradation: Degradation | Pipeline, seed: int = 0) -> np.ndarray:
    hr = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1)[None]
    lr, _ = degradation(hr, generator=image_generator(photo.name, seed))
    return lr[0].permute(1, 2, 0).byte().numpy()


ANISOTROPIC = {"noise": (10.0, 10.0), "sigma": 3.0, "sigma_y": 1.0, "theta": math.radians(30), "mode": "s-fold"}


@pytest.mark.parametrize(
    ("options", "degradation"),
    [
        ("--scale 3 --sigma 1.6", Degradation(3, "isotropic", 0.0, sigma=1.6)),
        ("--sigma 3 --sigma-y 1 --theta 30 --noise 10 --mode s-fold", Degradation(4, **ANISOTROPIC)),
        *((f"--preset {name} --scale 2", preset(name, 2)) for name in ("paper", "photo", "second-order", "bsrgan")),
    ],
)
def test_degradations(call: Call, photo: Path, options: str, degradation: Degradation | Pipeline):
    assert call("degrade", photo, *options.split(), "--seed", 7)[0] == 0
    result = pixels(photo.with_name(f"photo_lr{degradation.scale}.png"))
    np.testing.assert_array_equal(result, degraded(photo, degradation, seed=7))


def test_random_and_saved_kernels(call: Call, folder: Path, tmp_path: Path):
    arguments = ["--random", "anisotropic", "--noise", 5, "--save-kernels", tmp_path / "k.npz"]
    fails(call, 1, "b.png", "degrade", folder, "-o", tmp_path / "lr", *arguments)
    kernels = np.load(tmp_path / "k.npz")
    assert set(kernels) == {"a.png", "c.tif"}
    assert not np.allclose(kernels["a.png"], kernels["c.tif"])
    lr = degraded(folder / "a.png", Degradation(4, noise=5.0))
    np.testing.assert_array_equal(pixels(tmp_path / "lr" / "a.png"), lr)
    assert call("degrade", folder / "a.png", "-o", tmp_path / "again.png", *arguments[:4])[0] == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "lr" / "a.png"))
    assert call("degrade", folder / "a.png", "-o", tmp_path / "two.png", *arguments[:4], "--scale", 2)[0] == 0
    narrow = Degradation(2, noise=5.0, sigma=(0.2, 2.0))
    np.testing.assert_array_equal(pixels(tmp_path / "two.png"), degraded(folder / "a.png", narrow))


def test_compression_is_pillows(call: Call, photo: Path, tmp_path: Path):
    assert call("degrade", photo, "-o", tmp_path / "lr.png", "--sigma", 1)[0] == 0
    assert call("degrade", photo, "-o", tmp_path / "jpeg.png", "--sigma", 1, "--jpeg", 40)[0] == 0
    Image.open(tmp_path / "lr.png").save(tmp_path / "lr.jpg", quality=40)
    np.testing.assert_array_equal(pixels(tmp_path / "jpeg.png"), pixels(tmp_path / "lr.jpg"))


def test_pairs(call: Call, photo: Path, tmp_path: Path):
    Image.open(photo).crop((0, 0, 83, 90)).save(tmp_path / "odd.jpg", quality=95)
    arguments = ["degrade", tmp_path / "odd.jpg", "--preset", "photo", "--scale", 4, "--pairs"]
    fails(call, 2, "name the folder for them: --output", *arguments)
    fails(call, 2, "is a file's name", *arguments, "-o", tmp_path / "pairs.png")
    assert call(*arguments, "-o", tmp_path / "pairs")[0] == 0
    np.testing.assert_array_equal(pixels(tmp_path / "pairs" / "hr" / "odd.png"), pixels(tmp_path / "odd.jpg")[:88, :80])
    assert pixels(tmp_path / "pairs" / "lr" / "odd.png").shape == (22, 20, 3)
    fails(call, 1, "exists already", *arguments, "-o", tmp_path / "pairs")


def test_kernel_of_ones_own(call: Call, photo: Path, tmp_path: Path):
    kernel = gaussian_kernel(9, 2.0, 0.5, 1.0)
    np.save(tmp_path / "k.npy", kernel.numpy())
    assert call("degrade", photo, "--kernel-file", tmp_path / "k.npy", "--scale", 1)[0] == 0
    result = pixels(photo.with_name("photo_lr1.png"))
    np.testing.assert_array_equal(result, degraded(photo, Degradation(1, kernel, 0.0)))


def test_grey_is_degraded_as_one_channel(call: Call, tmp_path: Path):
    Image.fromarray(np.full((400, 400), 128, np.uint8)).save(tmp_path / "grey.png")
    assert call("degrade", tmp_path / "grey.png", "--noise", 20, "--scale", 2)[0] == 0
    assert pixels(tmp_path / "grey_lr2.png").std() == pytest.approx(20, rel=0.03)


NO_KERNELS = ("{photo}", "{complex}", "{dates}", "{kernels}.npz", "{here}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *((["--sigma", value], f"{value} is not a finite number") for value in ("nan", "inf")),
        (["--sigma", "-1"], "-1.0 is not in the range x>=0"),
        (["--sigma", "wide"], "'wide' is not a valid"),
        (["--noise", "nan"], "nan is not a finite number"),
        (["--scale", "5"], "5 is not in the range 1<=x<=4"),
        (["--mode", "area"], "'area' is not one of 'bicubic', 's-fold'"),
        *(
            (["--preset", "photo", *one], "--preset draws everything")
            for one in (["--noise", "2"], ["--mode", "s-fold"])
        ),
        (["--preset", "photo", "--save-kernels", "k"], "--preset draws everything"),
        (["--random", "isotropic", "--sigma", "2"], "--random draws the kernel"),
        (["--kernel-file", "nowhere.npy"], "There is no file nowhere.npy"),
        *((["--kernel-file", place], "is not a .npy file of real numbers") for place in NO_KERNELS),
        (["--kernel-file", "{three}"], "kernel must be [kh, kw]; got [1, 3, 3]"),
        (["--kernel-file", "{double}"], "kernel must sum to 1, or the images become darker or brighter; got 2"),
        (["--kernel-file", "{nothing}"], "kernel must sum to 1, or the images become darker or brighter; got 0"),
        (["--kernel-file", "{bad}"], "kernel must be finite"),
        (["--kernel-file", "{flat}"], "kernel must be [kh, kw]"),
        *((["--kernel-file", "{flat}", one, "1"], "--kernel-file is the kernel") for one in ("--sigma", "--theta")),
        (["--random", "isotropic", "--sigma-y", "0"], "--random draws the kernel"),
        (["--sigma", "2", "--theta", "30"], "--theta turns an anisotropic blur; give --sigma-y too"),
        (["--sigma", "1", "--save-kernels", "{kernels}"], "kernels.npz exists already"),
        (["--sigma", "1", "--save-kernels", "nowhere/k.npz"], "There is no folder nowhere"),
        (["--sigma", "1", "--save-kernels", "{here}"], "is a folder; name a file for the kernels"),
        (["--sigma", "1", "--save-kernels", "{here}/k.txt"], "k.txt: kernels are written as .npz"),
        (["--sigma", "1", "-o", "lr.gif"], "lr.gif: images are written as .png"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(call: Call, photo: Path, tmp_path: Path, arguments: list[str], message: str):
    np.savez(tmp_path / "kernels.npz", a=np.ones(1))
    places = {"kernels": tmp_path / "kernels", "photo": photo, "here": tmp_path}
    kernels = {"bad": np.full((3, 3), np.nan), "flat": np.ones(3), "complex": np.full((1, 1), 1 + 1j)}
    kernels |= {"dates": np.ones((1, 1), "datetime64[s]"), "three": np.full((1, 3, 3), 1 / 9)}
    kernels |= {"double": np.full((2, 2), 0.5), "nothing": np.zeros((3, 3))}
    for name, kernel in kernels.items():
        np.save(tmp_path / f"{name}.npy", kernel)
        places[name] = tmp_path / f"{name}.npy"
    before = sorted(tmp_path.rglob("*"))
    fails(call, 2, message, "degrade", photo, *(argument.format(**places) for argument in arguments))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_finished_folder_is_not_made_again(call: Call, folder: Path, tmp_path: Path):
    (folder / "b.png").unlink()
    arguments = ("degrade", folder, "-o", tmp_path / "lr", "--sigma", 1)
    assert call(*arguments)[0] == 0
    (tmp_path / "lr" / "a.png").unlink()
    before = (tmp_path / "lr" / "c.tif").stat().st_mtime_ns
    code, out, err = call(*arguments)
    assert (code, err) == (0, "")
    assert "1 done, 1 there already" in out
    assert (tmp_path / "lr" / "c.tif").stat().st_mtime_ns == before
    code, _, err = call(*arguments, "--save-kernels", tmp_path / "k.npz")
    assert (code, err.count("exists already; --overwrite replaces it")) == (1, 2)
    message = "The results would replace the images themselves; name another folder"
    fails(call, 2, message, "degrade", folder, "-o", folder, "--sigma", 1)


@pytest.mark.parametrize("name", ["text.png", f"{'n' * 300}.png"])
def test_a_failure_leaves_no_folder_behind(call: Call, photo: Path, tmp_path: Path, name: str):
    (tmp_path / "text.png").write_text("no image")
    source = tmp_path / name if name == "text.png" else photo
    assert "Errno" not in fails(call, 1, "", "degrade", source, "-o", tmp_path / "new" / "one" / name)
    assert not (tmp_path / "new").exists()


def test_names_that_are_no_utf_8(call: Call, photo: Path, tmp_path: Path):
    (tmp_path / "odd").mkdir()
    photo.rename(tmp_path / "odd" / os.fsdecode(b"caf\xe9.png"))
    target, kernels = tmp_path / os.fsdecode(b"\xe9"), tmp_path / "k.npz"
    code, out, err = call("degrade", tmp_path / "odd", "-o", target, "--save-kernels", kernels)
    assert (code, err) == (0, "")
    assert "\ufffd: 1 done" in out
    assert set(np.load(tmp_path / "k.npz")) == {"caf\ufffd.png"}


def test_a_full_disk_is_named_and_nothing_is_left(call: Call, photo: Path, tmp_path: Path):
    with files_of_at_most(5000):
        code, _, err = call("degrade", photo, "-o", tmp_path / "new" / "lr.tif", "--scale", 1)
    assert code == 1
    assert err == f"dasr-fast: {photo}: {tmp_path / 'new' / 'lr.tif'} can't be written: File too large.\n"
    message = f"The folder {tmp_path / 'new'} can't be written into: File too large."
    with files_of_at_most(0):
        fails(call, 2, message, "degrade", photo, "-o", tmp_path / "new" / "lr.tif")
    assert not (tmp_path / "new").exists()
