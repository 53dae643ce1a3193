"""Further scores, with a small library in pyiqa's place that has its names and calls."""

import json
import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.request import urlopen

import pytest
import torch
from PIL import Image

from dasr_fast.cli import run
from dasr_fast.evaluation import find_metric


class Distance:
    metric_mode = "FR"

    def __call__(self, sr: torch.Tensor, hr: torch.Tensor) -> torch.Tensor:
        assert (sr.shape, sr.dtype) == (hr.shape, torch.float32)
        return (sr - hr).abs().mean()


class Brightness:
    metric_mode = "NR"

    def __call__(self, sr: torch.Tensor) -> torch.Tensor:
        assert sr.dim() == 4
        return sr.mean()


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Records the devices; its metric "weights" looks for a server."""
    library, devices = ModuleType("pyiqa"), []

    def create_metric(name: str, device: torch.device) -> object:
        devices.append(device)
        if name == "weights":
            with socket.socket() as server:  # Nobody listens.
                server.bind(("127.0.0.1", 0))
                urlopen(f"http://127.0.0.1:{server.getsockname()[1]}")
        return {"distance": Distance, "brightness": Brightness}[name]()

    library.list_models = lambda: ["brightness", "distance", "weights"]  # type: ignore[attr-defined]
    library.create_metric = create_metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", library)
    return SimpleNamespace(devices=devices)


def test_images_are_from_0_to_1(library: SimpleNamespace):
    sr, hr = torch.full((3, 20, 20), 51.0), torch.full((3, 20, 20), 102.0)
    assert find_metric("distance")(sr, hr) == pytest.approx(0.2)
    assert find_metric("brightness")(sr, hr) == pytest.approx(0.2)
    assert library.devices == [torch.device("cpu")] * 2


def test_nothing_is_downloaded_unless_asked_for(library: SimpleNamespace):
    connect = socket.socket.connect
    with pytest.raises(ValueError, match="weights can't be made without downloads; with --download"):
        find_metric("weights")
    assert socket.socket.connect is connect
    with pytest.raises(OSError, match="Connection refused"):  # The server's, where there is none.
        find_metric("weights", download=True)


def test_metrics_that_are_not_there(library: SimpleNamespace, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="There is no metric beauty; pyiqa has brightness, distance, weights"):
        find_metric("beauty")
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(ImportError, match=r"lpips needs the package pyiqa \(pip install 'dasr-fast\[scores\]'\)"):
        find_metric("lpips")


def test_evaluate_prints_them(library: SimpleNamespace, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    image = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
    for name in ("a", "b"):
        image.save(tmp_path / f"{name}.png")
        image = image.transpose(Image.Transpose.ROTATE_90)
    arguments = ["--method", "bicubic", "--metric", "brightness", "--metric", "distance"]
    assert run(["evaluate", str(tmp_path), *arguments, "--json", str(tmp_path / "r.json")]) == 0
    out = capsys.readouterr().out
    assert "brightness" in out
    (row,) = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert 0 < row["distance"] < 0.05
    values = [row["images"][name]["brightness"] for name in ("a.png", "b.png")]
    assert row["brightness"] == pytest.approx(sum(values) / 2)
    assert f"{values[0]:.4f}" in out
