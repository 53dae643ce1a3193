import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from cli_helpers import Call, fails, one_line
from full_disk import files_of_at_most
from golden import arrays, table
from PIL import Image

from dasr_fast.evaluation import PresetSetting, Setting, bicubic, evaluate_image, network, table3
from dasr_fast.images import read_image
from dasr_fast.inference import Engine
from dasr_fast.models import BlindSR


@pytest.fixture
def evaluated(call: Call, tmp_path: Path) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Runs `dasr-fast evaluate`, which is to succeed; returns what it prints and the content of its JSON."""

    def evaluated(*arguments: object, failing: str = "") -> tuple[str, dict[str, Any]]:
        code, out, err = call("evaluate", *arguments, "--json", tmp_path / "r.json", "--overwrite")
        assert (code, bool(err)) == ((1, True) if failing else (0, False))
        assert not failing or (one_line(err) and failing in err)
        return out, json.loads((tmp_path / "r.json").read_text())

    return evaluated


def test_bicubic(evaluated: Any, photo: Path):
    out, content = evaluated(photo, "--scale", 3, "--method", "bicubic", "--sigma", 1.2)
    expected = table("evaluation")["bicubic x3 iso 1.2"]
    assert f"{expected['psnr']:.2f}" in out
    (row,) = content["rows"]
    assert row["psnr"] == pytest.approx(expected["psnr"], abs=1e-3)
    assert row["ssim"] == pytest.approx(expected["ssim"], abs=1e-5)
    assert row["images"]["photo.png"]["psnr"] == row["psnr"]
    assert (content["scale"], content["method"], content["failed"]) == (3, "bicubic", {})


def test_precision(evaluated: Any, photo: Path, weights: Path):
    found = {}
    for precision in ("fp32", "bf16"):
        _, found[precision] = evaluated(photo, "--method", weights, "--device", "cpu", "--precision", precision)
        assert found[precision]["precision"] == precision
    hr = arrays("evaluation")["hr"].permute(2, 0, 1)
    engine = Engine(BlindSR.from_pretrained(weights), "bf16")
    score = evaluate_image(hr, photo.name, engine, Setting(), 2)
    assert found["bf16"]["rows"][0]["psnr"] == pytest.approx(score.psnr, abs=1e-6)
    assert found["bf16"]["rows"][0]["psnr"] != found["fp32"]["rows"][0]["psnr"]


def test_network_and_folder(evaluated: Any, folder: Path, weights: Path):
    out, content = evaluated(folder, "--method", weights, "--device", "cpu", "--table2", failing="b.png")
    assert "2 done, 1 failed" in out
    assert [row["sigma"] for row in content["rows"]] == [0, 0.6, 1.2, 1.8]
    assert list(content["failed"]) == ["b.png"]
    row = content["rows"][2]
    assert row["psnr"] == pytest.approx(fmean(image["psnr"] for image in row["images"].values()))
    hr = arrays("evaluation")["hr"].permute(2, 0, 1)
    score = evaluate_image(hr, "a.png", network(BlindSR.from_pretrained(weights)), Setting(1.2), 2)
    assert row["images"]["a.png"]["psnr"] == pytest.approx(score.psnr, abs=1e-4)


def test_table3(evaluated: Any, photo: Path):
    out, content = evaluated(photo, "--method", "bicubic", "--table3")
    assert "(3.5, 1.5, 30)" in out
    rows = content["rows"]
    assert [(r["sigma"], r["sigma_y"], r["theta"], r["noise"]) for r in rows] == [
        (s.sigma, s.sigma_y, s.theta, s.noise) for s in table3(4)
    ]
    assert rows[2]["psnr"] == pytest.approx(table("evaluation")["bicubic x4 aniso 3.5,1.5,30"]["psnr"], abs=1e-3)


def test_downsampling_can_be_chosen(evaluated: Any, photo: Path):
    for row, number in ((["--sigma", 1.2], -1), (["--table2"], 2)):
        _, content = evaluated(photo, "--method", "bicubic", *row, "--scale", 2, "--mode", "s-fold")
        found = content["rows"][number]
        hr = arrays("evaluation")["hr"].permute(2, 0, 1)
        score = evaluate_image(hr, photo.name, bicubic(2), Setting(1.2, mode="s-fold"), 2)
        assert (found["sigma"], found["mode"]) == (1.2, "s-fold")
        assert found["psnr"] == pytest.approx(score.psnr, abs=1e-4)


def test_names_with_brackets(call: Call, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "odd[b]").mkdir()
    photo.rename(tmp_path / "odd[b]" / "[red].png")
    monkeypatch.chdir(tmp_path / "odd[b]")
    code, out, _ = call("evaluate", ".", "--method", "bicubic")
    assert code == 0
    assert "[red].png" in out
    assert "odd[b]" in out
    assert call("degrade", ".")[0] == 0
    assert (tmp_path / "odd[b]_lr4" / "[red].png").exists()


def test_images_smaller_than_a_kernel_need_no_blur(call: Call, tmp_path: Path):
    Image.new("RGB", (30, 40)).resize((20, 19)).save(tmp_path / "small.png")
    code, _, err = call("evaluate", tmp_path / "small.png", "--scale", 2, "--method", "bicubic")
    assert (code, err) == (0, "")


def test_noise_does_not_depend_on_other_images(evaluated: Any, folder: Path):
    (folder / "b.png").unlink()
    arguments = ["--method", "bicubic", "--noise", 10]
    both, one = (evaluated(path, *arguments)[1]["rows"][0]["images"] for path in (folder, folder / "c.tif"))
    assert both["c.tif"] == one["c.tif"]


def test_images_that_are_restored_exactly_do_not_make_the_mean_infinite(evaluated: Any, photo: Path):
    Image.new("RGB", (60, 60), (9, 9, 9)).save(photo.with_name("flat.png"))
    arguments = (photo.parent, "--method", "bicubic", "--scale", 2)
    out, content = evaluated(*arguments)
    assert "mean of 2, PSNR without 1 exact" in " ".join(out.split())
    (row,) = content["rows"]
    assert row["images"]["flat.png"] == {"psnr": None, "ssim": 1.0}
    assert row["psnr"] == row["images"]["photo.png"]["psnr"]
    assert row["ssim"] == pytest.approx((1 + row["images"]["photo.png"]["ssim"]) / 2)
    photo.unlink()
    assert evaluated(*arguments)[1]["rows"][0]["psnr"] is None


def test_a_full_disk_is_found_before_the_work_and_loses_no_table(call: Call, tmp_path: Path):
    (tmp_path / "many").mkdir()
    for number in range(16):
        Image.linear_gradient("L").resize((24, 24)).save(tmp_path / "many" / f"{'n' * 240}{number:02}.png")
    arguments = ("evaluate", tmp_path / "many", "--method", "bicubic", "--json", tmp_path / "r.json")
    with files_of_at_most(1000):
        code, out, err = call(*arguments)
    assert (code, out) == (2, "")
    assert err == f"dasr-fast: {tmp_path / 'r.json'} can't be written: File too large.\n"
    with files_of_at_most(4096):  # Filled by others meanwhile.
        code, out, err = call(*arguments)
    assert code == 1
    assert "mean of 16" in out
    assert err == f"dasr-fast: {tmp_path / 'r.json'} can't be written: File too large.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["many"]


def test_presets_compression_and_given_lr_images(call: Call, evaluated: Any, folder: Path, tmp_path: Path):
    (folder / "b.png").unlink()
    options = ["--scale", 2, "--method", "bicubic", "--seed", 3]

    def row(*arguments: object) -> tuple[str, dict[str, Any]]:
        out, content = evaluated(*arguments, *options)
        return out, content["rows"][0]

    out, found = row(folder, "--preset", "photo")
    assert found["preset"] == "photo"
    assert "preset" in out
    hr = read_image(folder / "a.png").rgb()[0]
    score = evaluate_image(hr, "a.png", bicubic(2), PresetSetting("photo"), 2, seed=3)
    assert found["images"]["a.png"]["psnr"] == score.psnr
    out, found = row(folder, "--sigma", 1.0, "--noise", 5, "--jpeg", 60)
    assert found["jpeg"] == 60
    assert "JPEG" in out
    setting = Setting(1.0, noise=5.0, jpeg=60)
    assert found["images"]["a.png"]["psnr"] == evaluate_image(hr, "a.png", bicubic(2), setting, 2, seed=3).psnr
    assert call("degrade", folder, "-o", tmp_path / "pairs", "--scale", 2, "--jpeg", 40, "--pairs")[0] == 0
    _, found = row(tmp_path / "pairs" / "hr", "--lr", tmp_path / "pairs" / "lr")
    expected = evaluate_image(hr, "a.png", bicubic(2), Setting(jpeg=40), 2)
    assert (found["images"]["a.png"]["psnr"], found["lr"]) == (pytest.approx(expected.psnr), "lr")
    code, _, err = call("evaluate", folder, "--lr", folder, *options)
    assert code == 1
    assert "belongs to an HR image of" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", "photo", "--table2"], "--preset and --table2 are different degradations; name one"),
        (["--preset", "photo", "--jpeg", "3"], "--preset has its own kernels and noise"),
        (["--preset", "photo", "--mode", "s-fold"], "--preset has its own kernels and noise"),
        (["--preset", "film"], "'film' is not one of 'paper', 'photo', 'second-order', 'bsrgan'"),
        (["--method", "bicubic", "--lr", "nowhere"], "There is no file or folder nowhere"),
        (["--jpeg", "0"], "0 is not in the range 1<=x<=100"),
        (["--scale", "5"], "5 is not in the range 2<=x<=4"),
        (["--method", "bicubic", "--scale", "2", "--table3"], "Table 3 has scale 4 only; got 2"),
        (["--method", "bicubic", "--table2", "--sigma", "1"], "--table2 has its own kernels"),
        (["--method", "bicubic", "--sigma", "1", "--theta", "3"], "--theta turns an anisotropic blur"),
        (["--method", "nowhere.pt"], "No weights at nowhere.pt"),
        (["--method", "{weights}", "--scale", "4"], "are weights for scale 2, not 4"),
        (["--method", "bicubic", "--json", "{photo}"], "exists already"),
        (["--method", "bicubic", "--json", "{here}", "--overwrite"], "is a folder; name a file"),
        (["--method", "bicubic", "--json", "nowhere/r.json"], "There is no folder nowhere"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(call: Call, photo: Path, weights: Path, arguments: list[str], message: str):
    given = [argument.format(photo=photo, weights=weights, here=photo.parent) for argument in arguments]
    fails(call, 2, message, "evaluate", photo, *given)
