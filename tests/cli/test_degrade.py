import math
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import Call, one_line, pixels
from PIL import Image

from dasr_fast.degradation import Degradation, gaussian_kernel, image_generator


def degraded(photo: Path, degradation: Degradation, seed: int = 0) -> np.ndarray:
    hr = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1)[None]
    lr, _ = degradation(hr, generator=image_generator(photo.name, seed))
    return lr[0].permute(1, 2, 0).byte().numpy()


def test_isotropic(call: Call, photo: Path):
    assert call("degrade", photo, "--scale", 3, "--sigma", 1.6)[0] == 0
    result = pixels(photo.with_name("photo_lr3.png"))
    np.testing.assert_array_equal(result, degraded(photo, Degradation(3, "isotropic", 0.0, sigma=1.6)))


def test_anisotropic_with_noise(call: Call, photo: Path, tmp_path: Path):
    options = ["--sigma", 3, "--sigma-y", 1, "--theta", 30, "--noise", 10, "--mode", "s-fold", "--seed", 7]
    assert call("degrade", photo, "-o", tmp_path / "lr.png", *options)[0] == 0
    degradation = Degradation(4, noise=(10.0, 10.0), sigma=3.0, sigma_y=1.0, theta=math.radians(30), mode="s-fold")
    np.testing.assert_array_equal(pixels(tmp_path / "lr.png"), degraded(photo, degradation, seed=7))


def test_random_and_saved_kernels(call: Call, folder: Path, tmp_path: Path):
    arguments = ["--random", "anisotropic", "--noise", 5, "--save-kernels", tmp_path / "k.npz"]
    code, _, err = call("degrade", folder, "-o", tmp_path / "lr", *arguments)
    assert code == 1
    assert one_line(err)
    kernels = np.load(tmp_path / "k.npz")
    assert set(kernels) == {"a.png", "c.tif"}
    assert not np.allclose(kernels["a.png"], kernels["c.tif"])
    np.testing.assert_array_equal(
        pixels(tmp_path / "lr" / "a.png"), degraded(folder / "a.png", Degradation(4, noise=5.0))
    )
    assert call("degrade", folder / "a.png", "-o", tmp_path / "again.png", *arguments[:4])[0] == 0
    np.testing.assert_array_equal(pixels(tmp_path / "again.png"), pixels(tmp_path / "lr" / "a.png"))
    assert call("degrade", folder / "a.png", "-o", tmp_path / "two.png", *arguments[:4], "--scale", 2)[0] == 0
    narrow = Degradation(2, noise=5.0, sigma=(0.2, 2.0))
    np.testing.assert_array_equal(pixels(tmp_path / "two.png"), degraded(folder / "a.png", narrow))


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sigma", "nan"], "nan is not a finite number"),
        (["--sigma", "inf"], "inf is not a finite number"),
        (["--sigma", "-1"], "-1.0 is not in the range x>=0"),
        (["--sigma", "wide"], "'wide' is not a valid"),
        (["--noise", "nan"], "nan is not a finite number"),
        (["--scale", "5"], "5 is not in the range 1<=x<=4"),
        (["--mode", "area"], "'area' is not one of 'bicubic', 's-fold'"),
        (["--random", "isotropic", "--sigma", "2"], "--random draws the kernel"),
        (["--kernel-file", "nowhere.npy"], "There is no file nowhere.npy"),
        (["--kernel-file", "{photo}"], "is not a .npy file of numbers"),
        (["--kernel-file", "{bad}"], "kernel must be finite"),
        (["--kernel-file", "{flat}"], "kernel must be [kh, kw]"),
        (["--kernel-file", "{flat}", "--sigma", "1"], "--kernel-file is the kernel"),
        (["--kernel-file", "{flat}", "--theta", "0"], "--kernel-file is the kernel"),
        (["--random", "isotropic", "--sigma-y", "0"], "--random draws the kernel"),
        (["--sigma", "2", "--theta", "30"], "--theta turns an anisotropic blur; give --sigma-y too"),
        (["--sigma", "1", "--save-kernels", "{kernels}"], "kernels.npz exists already"),
        (["--sigma", "1", "--save-kernels", "nowhere/k.npz"], "There is no folder nowhere"),
        (["--sigma", "1", "-o", "lr.gif"], "lr.gif: images are written as .png"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(call: Call, photo: Path, tmp_path: Path, arguments: list[str], message: str):
    np.save(tmp_path / "bad.npy", np.full((3, 3), np.nan))
    np.save(tmp_path / "flat.npy", np.ones(3))
    np.savez(tmp_path / "kernels.npz", a=np.ones(1))
    places = {
        "kernels": tmp_path / "kernels",
        "photo": photo,
        "bad": tmp_path / "bad.npy",
        "flat": tmp_path / "flat.npy",
    }
    before = sorted(tmp_path.rglob("*"))
    code, _, err = call("degrade", photo, *(argument.format(**places) for argument in arguments))
    assert code == 2
    assert one_line(err)
    assert message in err
    assert sorted(tmp_path.rglob("*")) == before


def test_images_smaller_than_the_kernel(call: Call, tmp_path: Path):
    Image.new("RGB", (9, 40)).save(tmp_path / "small.png")
    code, _, err = call("degrade", tmp_path / "small.png", "--sigma", 1)
    assert code == 1
    assert one_line(err)
    assert "small.png: blur_downsample: hr must be at least 11 pixels wide for a kernel of 21" in err
