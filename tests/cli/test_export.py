import importlib.util
import sys
from pathlib import Path

import pytest
import torch
from cli_helpers import Call, fails
from full_disk import files_of_at_most

from dasr_fast.export.program import Form, verify
from dasr_fast.models import BlindSR, save_weights

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(package) for package in PACKAGES), reason=f"needs {', '.join(PACKAGES)}"
)


@needs_onnx
def test_onnx(call: Call, weights: Path, tmp_path: Path):
    target = tmp_path / "model.onnx"
    code, out, err = call("export", weights, "-o", target, "--scale", 2)
    assert (code, err) == (0, "")
    difference = verify(target, BlindSR.from_pretrained(weights))
    assert out == f"Exported to {target}, which differs from the model by at most {difference:.1e} grey levels.\n"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("part", ["encode", "restore"])
def test_parts_as_programs(call: Call, weights: Path, tmp_path: Path, part: str):
    target = tmp_path / "part.pt2"
    code, out, err = call("export", weights, "-o", target, "--part", part)
    assert (code, err) == (0, "")
    difference = verify(target, BlindSR.from_pretrained(weights), part)
    assert f"at most {difference:.1e}{' grey levels' if part == 'restore' else ''}.\n" in out


def test_nothing_is_overwritten_unasked(call: Call, weights: Path, tmp_path: Path):
    target = tmp_path / "model.pt2"
    target.write_text("precious")
    message = "model.pt2 exists already; --overwrite replaces it"
    fails(call, 2, message, "export", weights, "-o", target, "--part", "encode")
    assert target.read_text() == "precious"
    assert call("export", weights, "-o", target, "--part", "encode", "--overwrite")[0] == 0
    assert torch.export.load(target).module()(torch.rand(1, 3, 4, 5)).shape == (1, 256)


@pytest.mark.parametrize("name", ["model.pt2", pytest.param("model.onnx", marks=needs_onnx)])
def test_a_full_disk_is_one_line_and_loses_nothing(call: Call, weights: Path, tmp_path: Path, name: str):
    target = tmp_path / name
    target.write_text("precious")
    with files_of_at_most(20_000):
        code, _, err = call("export", weights, "-o", target, "--part", "encode", "--overwrite")
    assert (code, err) == (1, f"dasr-fast: {target} can't be written: File too large.\n")
    assert (target.read_text(), list(tmp_path.iterdir())) == ("precious", [target])


def test_a_file_that_differs_is_not_written(call: Call, tmp_path: Path):
    model = BlindSR(2, channels=8, groups=1, blocks=1)
    with torch.no_grad():
        model.G.head[0].weight.fill_(3e38)
    save_weights(model, tmp_path / "huge.pt")
    target = tmp_path / "model.pt2"
    target.write_text("precious")
    message = "model.pt2 was not written: The exported file computes something else than the model"
    fails(call, 1, message, "export", tmp_path / "huge.pt", "-o", target, "--overwrite")
    assert target.read_text() == "precious"


@needs_onnx
def test_without_onnxruntime_it_says_so(call: Call, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, out, err = call("export", weights, "-o", tmp_path / "model.onnx", "--part", "encode")
    assert (code, err) == (0, "")
    assert "not compared with the model: that needs onnxruntime (pip install 'dasr-fast[export]')" in out
    assert (tmp_path / "model.onnx").is_file()


def test_without_onnx(call: Call, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    message = "ONNX files need the package onnx and onnxscript: pip install 'dasr-fast[export]'"
    fails(call, 2, message, "export", weights, "-o", tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{weights}"], "Missing option '-o'"),
        (["{weights}", "-o", "{folder}/model.pb"], "networks are written as .onnx or .pt2"),
        (["{weights}", "-o", "{folder}/model.pt2", "--scale", "4"], "are weights for scale 2, not 4"),
        (["{weights}", "-o", "{folder}/model.pt2", "--part", "tail"], "'tail' is not one of"),
        (["{weights}", "-o", "{folder}/nowhere/model.pt2"], "There is no folder"),
        (["{weights}", "-o", "{folder}/empty.onnx"], "is a folder; name a file"),
        (["nowhere.pt", "-o", "{folder}/model.pt2"], "No weights at nowhere.pt"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    call: Call, weights: Path, tmp_path: Path, arguments: list[str], message: str
):
    (tmp_path / "empty.onnx").mkdir()
    fails(call, 2, message, "export", *(argument.format(weights=weights, folder=tmp_path) for argument in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["empty.onnx"]


@needs_onnx
@pytest.mark.parametrize("part", ["whole", "restore"])
def test_other_forms(call: Call, weights: Path, tmp_path: Path, part: str):
    import onnx

    target = tmp_path / "model.onnx"
    options = ("--unit-range", "--fp16", "--size", "19x14", "--part", part)
    assert call("export", weights, "-o", target, *options)[::2] == (0, "")
    (lr, *_), (sr,) = (getattr(onnx.load(target).graph, name) for name in ("input", "output"))
    assert [d.dim_value for d in lr.type.tensor_type.shape.dim] == [1, 3, 14, 19]
    assert lr.type.tensor_type.elem_type == sr.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    assert verify(target, BlindSR.from_pretrained(weights), part, Form(True, True, (14, 19))) < 1.0
    with pytest.raises(RuntimeError, match="computes something else"):
        verify(target, BlindSR.from_pretrained(weights), part, Form(False, True, (14, 19)))


def test_a_program_in_0_to_1(call: Call, weights: Path, tmp_path: Path):
    target = tmp_path / "model.pt2"
    assert call("export", weights, "-o", target, "--unit-range")[0] == 0
    model, lr = BlindSR.from_pretrained(weights), torch.rand(2, 3, 9, 8)
    result = torch.export.load(target).module()(lr)
    torch.testing.assert_close(result, model(lr * 255) / 255, rtol=1e-4, atol=1e-4)
    fails(call, 2, "320 is no width and height", "export", weights, "-o", target, "--size", "320")
