"""What the tests of every op don't see of the C++ kernels: threads, instruction sets, memory."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from processes import printed
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dasr_fast import ops
from dasr_fast.build import record
from dasr_fast.build.recipe import Recipe
from dasr_fast.build.toolchain import CannotBuild, find_compiler, find_torch
from dasr_fast.ops.backends import OPS, choose, state
from tests.specification import SPECIFICATIONS

IMPLEMENTED = [op for op in SPECIFICATIONS if state(op, "cpp") is None]
pytestmark = pytest.mark.skipif(not IMPLEMENTED, reason=f"no C++ kernels: {state(OPS[0], 'cpp')}")
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}


@pytest.fixture
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def results(op: str, layout: str, dtype: torch.dtype) -> list[Tensor]:
    """The result and its gradients by C++."""
    case = next(case for case in SPECIFICATIONS[op].cases if case.label == "medium")
    arguments = SPECIFICATIONS[op].arguments(case, dtype)
    if op != "blur_downsample":
        arguments["x"] = arguments["x"].contiguous(memory_format=LAYOUTS[layout])
    inputs = [t.requires_grad_() for t in arguments.values() if isinstance(t, Tensor)]
    y = getattr(ops, op)(**arguments, backend="cpp")
    return [y.detach(), *torch.autograd.grad(y.square().sum(), inputs)]


@pytest.mark.usefixtures("_two_threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("op", IMPLEMENTED)
def test_threads_do_not_change_a_bit(op: str, layout: str, dtype: torch.dtype):
    torch.set_num_threads(1)
    alone = results(op, layout, dtype)
    for threads in (2, 3):
        torch.set_num_threads(threads)
        assert all(torch.equal(a, b) for a, b in zip(results(op, layout, dtype), alone, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.uint8])
@pytest.mark.parametrize(
    "shape", [(2, 64, 16, 16), (3, 65, 17, 33), (1, 8, 1, 70), (2, 40, 1, 1), (2, 3, 7, 5), (0, 16, 4, 4)]
)
def test_features_change_their_memory_format(shape: tuple[int, ...], dtype: torch.dtype):
    from dasr_fast.build.library import cpp

    x = (40 * torch.rand(shape)).to(dtype)
    last = cpp.channels_last.default(x)
    assert last.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(last, x)
    back = cpp.contiguous.default(last)
    assert back.is_contiguous()
    assert torch.equal(back, x)
    for view in (last[:, :, :, ::2], last[:, ::2], x.transpose(2, 3)):  # Dense in neither format.
        for copy, wanted in ((cpp.channels_last, torch.channels_last), (cpp.contiguous, torch.contiguous_format)):
            copied = copy.default(view)
            assert copied.is_contiguous(memory_format=wanted)
            assert torch.equal(copied, view)


class Blurred(Dataset[Tensor]):
    """Computes in whichever process asks."""

    hr, kernel = torch.rand(1, 3, 64, 64), torch.full((1, 5, 5), 0.04)

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Tensor:
        return ops.blur_downsample(self.hr, self.kernel, index + 1, backend="cpp")[0]


@pytest.mark.skipif(sys.platform != "linux" or "blur_downsample" not in IMPLEMENTED, reason="for Linux")
@pytest.mark.usefixtures("_two_threads")
def test_forked_workers_of_a_process_that_has_used_threads():
    torch.set_num_threads(2)
    expected = [Blurred()[index] for index in range(2)]
    # A hanging worker is an error after the timeout.
    loader = DataLoader(Blurred(), None, num_workers=1, multiprocessing_context="fork", timeout=60)
    assert all(torch.equal(a, b) for a, b in zip(loader, expected, strict=True))


@pytest.mark.parametrize("unit", [False, True])
def test_autocast_takes_kernels_where_a_matrix_unit_is(unit: bool, monkeypatch: pytest.MonkeyPatch):
    from dasr_fast.compiled.cpp import support

    monkeypatch.setattr(support, "MATRIX_UNIT", unit)
    x, weight = torch.zeros(1, 16, 32, 32, dtype=torch.bfloat16), torch.zeros(16, 16, 3, 3, dtype=torch.bfloat16)
    x = x.contiguous(memory_format=torch.channels_last)
    arguments = (x, weight, None, None, None)
    assert choose("conv3x3", "auto", "cpu", arguments) == "cpp"
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert choose("conv3x3", "auto", "cpu", arguments) == ("cpp" if unit else None)
        assert choose("conv3x3", ("cpp", "auto"), "cpu", arguments) == "cpp"


@pytest.mark.parametrize(
    ("shape", "channels", "taken"),
    [
        ((1, 64, 19, 20), 64, None),
        ((1, 64, 20, 20), 64, "cpp"),
        ((2, 64, 27, 28), 256, None),
        ((1, 16, 29, 29), 16, None),
    ],
)
def test_few_pixels_are_left_to_pytorch(shape: tuple[int, ...], channels: int, taken: str | None):
    for layout in LAYOUTS.values():
        x = torch.zeros(shape).contiguous(memory_format=layout)
        arguments = x, torch.zeros(channels, shape[1], 3, 3), None, None, None
        assert choose("conv3x3", "auto", "cpu", arguments) == taken
        assert choose("conv3x3", "cpp", "cpu", arguments) == "cpp"


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "number"), [("default", 0), ("avx2", 1), ("avx512", 2)])
def test_every_instruction_set(asked: str, number: int):
    if number >= torch.ops.dasr_fast_cpp.instruction_set():
        pytest.skip("this processor hasn't got more, and every test takes the most")
    variables = {"ATEN_CPU_CAPABILITY": asked}
    query = "import dasr_fast.ops, torch; print(torch.ops.dasr_fast_cpp.instruction_set())"
    assert int(printed("-c", query, **variables)) == number
    every_op = Path(__file__).parents[1] / "ops" / "test_every_op.py"
    chosen = "cpp and (agrees_with_float64 or any_layout or any_shape) and not training and not frame"
    options = ("-n0", "-o", "addopts=-v", "-p", "no:cacheprovider", "-k", chosen)
    assert " passed" in printed("-m", "pytest", str(every_op), *options, **variables)


SANITIZED = """
import sys
from dasr_fast.build import record
record.LIBRARY, record.missing = sys.argv[1], lambda part: None
import torch
from dasr_fast import ops
from dasr_fast.ops.backends import refusal, state
from dasr_fast.compiled.cpp import support
from tests.specification import SPECIFICATIONS

for op, specification in SPECIFICATIONS.items():
    if state(op, "cpp") is not None:
        continue
    print(op)
    for case in (case for case in specification.cases if not case.timed):
        for dtype, support.MATRIX_UNIT in (
            *((dtype, False) for dtype in (torch.float32, torch.float16, torch.bfloat16)), (torch.bfloat16, True)
        ):
            for layout in (torch.contiguous_format, torch.channels_last):
                arguments = specification.arguments(case, dtype)
                if refusal(op, "cpp", "cpu", tuple(arguments.values())) is not None:
                    continue
                for name, value in arguments.items():
                    if isinstance(value, torch.Tensor) and value.dim() == 4:
                        arguments[name] = value.contiguous(memory_format=layout)
                inputs = [value.requires_grad_() for value in arguments.values() if isinstance(value, torch.Tensor)]
                y = getattr(ops, op)(**arguments, backend="cpp")
                torch.autograd.grad(y, inputs, torch.randn_like(y))
"""


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["", "-mavx2 -mfma -mf16c"], ids=["baseline", "wide"])
def test_memory_and_undefined_behaviour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str):
    from dasr_fast.build import toolchain
    from dasr_fast.build.command import run_ninja, target

    try:
        if flags and "avx2" not in find_compiler().instruction_sets:
            pytest.skip("for x86-64")
        monkeypatch.setattr(toolchain, "INSTRUCTION_SETS", {"baseline": flags})
        monkeypatch.setenv("CXXFLAGS", "-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all")
        csrc = record.sources()
        assert csrc is not None
        recipe = Recipe(csrc, find_torch())
        recipe.find("cpp")
        recipe.write(tmp_path)
        run_ninja(tmp_path, target(["cpp"]), verbose=False)
    except CannotBuild as error:
        pytest.skip(str(error))
    assert recipe.compiler is not None
    runtime = subprocess.run(
        [*recipe.compiler.command, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    library = str(tmp_path / target(["cpp"]))
    options = "detect_leaks=0:verify_asan_link_order=0"
    computed = printed("-c", SANITIZED, library, LD_PRELOAD=runtime, ASAN_OPTIONS=options)
    assert computed.split() == IMPLEMENTED
