import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_helpers import Call, one_line
from PIL import Image

from dasr_fast.cli.represent import _evenly
from dasr_fast.evaluation.representation import degraded_patches, isotropic_settings, represent, separability
from dasr_fast.images import read_image
from dasr_fast.models import BlindSR

SMALL = ("--size", 16, "--patches", 2, "--neighbours", 3, "--device", "cpu")


@pytest.fixture
def represented(call: Call, folder: Path, tmp_path: Path) -> Callable[[str, str], tuple[int, str, str, Any]]:
    """Runs `dasr-fast represent` with options; returns exit code, outputs, and the content of its JSON."""

    def represented(options: str, plot: str) -> tuple[int, str, str, Any]:
        figures = tmp_path / "r.json"
        said = call("represent", folder, *SMALL, *options.split(), "-o", tmp_path / plot, "--json", figures)
        return *said, json.loads(figures.read_text())

    return represented


def test_figures_and_plot(represented: Any, folder: Path, weights: Path, tmp_path: Path):
    options = f"--weights {weights} --compare untrained --sigma 0.5 --sigma 3 --seed 3"
    code, out, err, content = represented(options, "plot.png")
    assert code == 1
    assert one_line(err)
    assert "b.png" in err
    assert "2 done, 1 failed" in out
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
    assert (content["scale"], content["images"], list(content["failed"])) == (2, ["a.png", "c.tif"], ["b.png"])
    trained, untrained = content["encoders"][str(weights)], content["encoders"]["untrained"]
    model = BlindSR.from_pretrained(weights)
    patches = [
        degraded_patches(
            read_image(folder / name).rgb()[0], name, isotropic_settings((0.5, 3.0)), 2, patches=2, size=16, seed=3
        )
        for name in ("a.png", "c.tif")
    ]
    expected = separability(represent(model.encode, patches), 3)
    assert trained["accuracy"] == expected.accuracy
    assert [row["accuracy"] for row in trained["degradations"]] == list(expected.by_degradation)
    assert [row["sigma"] for row in trained["degradations"]] == [0.5, 3.0]
    assert trained["chance"] == untrained["chance"] == 0.5
    assert f"{expected.accuracy:.1%}" in out


def test_kernels_and_noise(represented: Any, folder: Path):
    (folder / "b.png").unlink()
    before = torch.get_rng_state()
    options = "--weights untrained --scale 2 --anisotropic --noise 0 --noise 5"
    code, out, err, content = represented(options, "plot.svg")
    assert (code, err) == (0, "")
    assert "(3.5, 1.5, 30)" in out
    rows = content["encoders"]["untrained"]["degradations"]
    assert [row["noise"] for row in rows] == [0] * 9 + [5] * 9
    assert torch.equal(before, torch.get_rng_state())


def test_images_are_evenly_spread():
    paths = [Path(str(i)) for i in range(10)]
    assert (_evenly(paths, 4), _evenly(paths, 12)) == ([paths[0], paths[2], paths[5], paths[7]], paths)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "plot.gif"], "plots are written as .png, .svg, .pdf"),
        (["-o", "nowhere/plot.png"], "There is no folder nowhere"),
        (["-o", "{here}/photo.png"], "exists already"),
        (["-o", "{here}/p.png", "--json", "{here}/p.png"], "The plot and --json would both be written to"),
        (["-o", "{here}/p.png", "--anisotropic", "--sigma", "1"], "--anisotropic has its own kernels"),
        (["-o", "{here}/p.png", "--sigma", "1"], "Two different degradations are needed"),
        (["-o", "{here}/p.png", *("--sigma", "1", "--sigma", "1", "--sigma", "2")], "Two different degradations"),
        (["-o", ""], "it is empty"),
        (["-o", "{here}/p.png", "--weights", ""], "it is empty"),
        (["-o", "{here}/p.png", "--compare", " "], "it is empty"),
        (["-o", "{here}/p.png", "--patches", str(10**12)], "is not in the range"),
        (["-o", "{here}/p.png", "--weights", "nowhere.pt"], "No weights at nowhere.pt"),
        (["-o", "{here}/p.png", "--weights", "{weights}", "--scale", "4"], "are weights for scale 2, not 4"),
        (["-o", "{here}/p.png", "--weights", "{weights}", "--compare", "{weights}"], "must name other weights"),
        (["-o", "{here}/p.png", "--weights", "untrained", "--scale", "2", "--size", "90"], "Two images are needed"),
    ],
)
def test_mistakes_exit_2(call: Call, folder: Path, weights: Path, arguments: list[str], message: str):
    call_with = [argument.format(here=folder.parent, weights=weights) for argument in arguments]
    code, _, err = call("represent", folder, *call_with)
    assert code == 2
    assert message in err
    assert all(one_line(line + "\n") for line in err.splitlines())
    assert not (folder.parent / "p.png").exists()
