from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import fill
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import dasr_fast
from dasr_fast.export.program import export_onnx, export_program, verify
from dasr_fast.models import BlindSR

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

PARTS = ("whole", "encode", "restore")

OPERATORS = {
    "Add",
    "Conv",
    "DepthToSpace",
    "Gemm",
    "LeakyRelu",
    "Mul",
    "Pad",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Split",
    "ReduceMean",
    "Squeeze",
    "Unsqueeze",
}

sizes = st.tuples(st.integers(1, 3), st.integers(1, 24), st.integers(1, 24))


@pytest.fixture(scope="module")
def model() -> BlindSR:
    return fill(BlindSR(4, channels=16, groups=1, blocks=1)).eval()


@pytest.fixture(scope="module")
def files(model: BlindSR, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    for part in PARTS:
        export_onnx(model, folder / f"{part}.onnx", part)
    return {part: folder / f"{part}.onnx" for part in PARTS}


@pytest.fixture(scope="module")
def programs(model: BlindSR) -> dict[str, torch.export.ExportedProgram]:
    return {part: export_program(model, part) for part in PARTS}


@pytest.fixture(scope="module")
def exported(files: dict[str, Path]) -> dict[str, Callable[..., Tensor]]:
    """The files in onnxruntime."""

    def runner(path: Path) -> Callable[..., Tensor]:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [entry.name for entry in session.get_inputs()]

        def run(*inputs: Tensor) -> Tensor:
            feed = {name: entry.numpy() for name, entry in zip(names, inputs, strict=True)}
            return torch.from_numpy(session.run(["v" if path.stem == "encode" else "sr"], feed)[0])

        return run

    return {part: runner(path) for part, path in files.items()}


@pytest.fixture(scope="module")
def exact() -> BlindSR:
    return fill(BlindSR(4, channels=16, groups=1, blocks=1)).double().eval().requires_grad_(False)


def images(size: tuple[int, int, int]) -> Tensor:
    batch, height, width = size
    return torch.from_numpy(np.random.default_rng(size).uniform(0, 255, (batch, 3, height, width)).astype(np.float32))


@settings(deadline=None, max_examples=15)
@given(sizes)
def test_onnx_computes_what_the_model_does(
    exported: dict[str, Callable[..., Tensor]], exact: BlindSR, size: tuple[int, int, int]
):
    lr = images(size)
    v = exact.encode(lr.double())
    sr = exact.restore(lr.double(), v)
    torch.testing.assert_close(exported["encode"](lr).double(), v, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(exported["whole"](lr).double(), sr, rtol=0, atol=1e-3)
    other = torch.randn_like(v, dtype=torch.float32)
    sr = exact.restore(lr.double(), other.double())
    torch.testing.assert_close(exported["restore"](lr, other).double(), sr, rtol=0, atol=1e-3)


def test_onnx_holds_standard_operators_and_one_network_alone(files: dict[str, Path], model: BlindSR):
    weights = {"encode": model.E.encoder_q.E, "restore": model.G, "whole": nn.Sequential(model.E.encoder_q.E, model.G)}
    for part, path in files.items():
        content = onnx.load(path, load_external_data=False)
        onnx.checker.check_model(content, full_check=True)
        assert {node.domain for node in content.graph.node} == {""}
        assert {node.op_type for node in content.graph.node} <= OPERATORS
        assert [(entry.domain, entry.version) for entry in content.opset_import] == [("", 18)]
        assert not content.functions
        groups = [one.i for node in content.graph.node for one in node.attribute if one.name == "group"]
        assert set(groups) == {1}
        size = sum(4 * parameter.numel() for parameter in weights[part].parameters())
        assert path.stat().st_size < 1.05 * size + 20_000
        assert str(Path(dasr_fast.__file__).parent).encode() not in path.read_bytes()
    assert sorted(p.name for p in files["whole"].parent.iterdir()) == sorted(f"{part}.onnx" for part in PARTS)


def test_onnx_names_what_varies(files: dict[str, Path]):
    def described(part: str) -> list[tuple[str, list[int | str]]]:
        graph = onnx.load(files[part]).graph
        return [
            (entry.name, [size.dim_param or size.dim_value for size in entry.type.tensor_type.shape.dim])
            for entry in (*graph.input, *graph.output)
        ]

    lr, v = ("lr", ["batch", 3, "height", "width"]), ("v", ["batch", 256])
    sr = ("sr", ["batch", 3, "4*height", "4*width"])
    assert (described("whole"), described("encode"), described("restore")) == ([lr, sr], [lr, v], [lr, v, sr])


@pytest.mark.parametrize("part", PARTS)
def test_programs(part: str, programs: dict[str, torch.export.ExportedProgram], exact: BlindSR):
    program = programs[part]
    targets = {node.target for node in program.graph.nodes if node.op == "call_function"}
    assert {target.namespace for target in targets if hasattr(target, "namespace")} == {"aten"}
    assert {target.__name__ for target in targets if not hasattr(target, "namespace")} <= {"getitem"}
    assert [constraint.lower for constraint in program.range_constraints.values()] == [1, 1, 1]
    for size in ((1, 1, 1), (2, 3, 5), (3, 40, 17)):
        lr = images(size)
        v = exact.encode(lr.double())
        inputs = (lr, v.float()) if part == "restore" else (lr,)
        expected = v if part == "encode" else exact.restore(lr.double(), v)
        torch.testing.assert_close(program.module()(*inputs).double(), expected, rtol=0, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "bounded", "options"),
    [
        (2, True, {"kernel_size": 5, "depthwise": "static"}),
        (3, False, {"gate": "series", "block_activation": "prelu", "spatial_gate": True}),
    ],
)
def test_other_scales_bounds_and_options(tmp_path: Path, scale: int, bounded: bool, options: dict[str, Any]):
    model = fill(BlindSR(scale, channels=8, groups=1, blocks=1, **options)).eval().requires_grad_(False)
    if bounded:
        mean = torch.randn(256)
        model.G.bounds = torch.stack((mean - 0.1, mean, mean + 0.1))
    export_onnx(nn.DataParallel(model), tmp_path / "model.onnx", "restore")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    model.double()
    for size in ((1, 1, 1), (2, 9, 4)):
        lr, v = images(size), torch.randn(size[0], 256)
        result = torch.from_numpy(session.run(None, {"lr": lr.numpy(), "v": v.numpy()})[0]).double()
        torch.testing.assert_close(result, model.restore(lr.double(), v.double()), rtol=0, atol=1e-3)
    if bounded:
        model.G.bounds = None
        assert (result - model.restore(lr.double(), v.double())).abs().max() > 0.01  # So that bounds matter.


def test_verify_tells_the_difference(
    files: dict[str, Path], programs: dict[str, torch.export.ExportedProgram], model: BlindSR, tmp_path: Path
):
    for part, path in files.items():
        assert 0 <= verify(path, model, part) < 1e-3
    program = tmp_path / "restore.pt2"
    torch.export.save(programs["restore"], program)
    assert 0 <= verify(program, model, "restore") < 1e-3
    other = fill(BlindSR(4, channels=16, groups=1, blocks=1))
    with torch.no_grad():
        other.G.tail[1].bias[0] += 0.1
    for path in (files["restore"], program):
        with pytest.raises(
            RuntimeError, match=r"computes something else than the model: results for \[1, 3, 1, 1\] differ by 1.0e-01"
        ):
            verify(path, other, "restore")
    with torch.no_grad():
        other.G.tail[1].bias[0] = torch.nan
    with pytest.raises(RuntimeError, match="differ by nan"):
        verify(program, other, "restore")


def test_another_default_device(model: BlindSR, files: dict[str, Path]):
    with torch.device("meta"):
        export_program(model, "restore")
        assert verify(files["restore"], model, "restore") < 1e-3


def test_mistakes(model: BlindSR, tmp_path: Path):
    with pytest.raises(ValueError, match="part must be whole, encode or restore; got 'sr'"):
        export_program(model, "sr")
    with pytest.raises(ValueError, match="part must be whole, encode or restore; got 'sr'"):
        export_onnx(model, tmp_path / "model.onnx", "sr")
    with pytest.raises(TypeError, match="Linear"):
        export_program(nn.Linear(2, 2))
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        export_onnx(model, tmp_path / "nowhere" / "model.onnx")
    assert not list(tmp_path.iterdir())
