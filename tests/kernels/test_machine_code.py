"""Every kernel, compiled for four generations of GPUs without having one, keeps its values in registers."""

import importlib
import importlib.util
import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.specification import SPECIFICATIONS, Case
from tests.specification.gradients import BACKWARD, OPTIONS

pytest.importorskip("triton")

from machine_code import SHARED_MEMORY, Capability, MachineCode, launches, machine_code, obstacle
from triton.compiler import CompilationError
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from dasr_fast.kernels import options as launch_options

pytestmark = pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))

Variant = tuple[Case, torch.dtype, str]

OPS = [op for op in SPECIFICATIONS if op != "gaussian_kernel" and importlib.util.find_spec(f"dasr_fast.kernels.{op}")]
"""Ops with kernels, of features or images."""

CAPABILITIES = (
    *(pytest.param(capability, marks=pytest.mark.slow) for capability in ((8, 0), (8, 6), (12, 0))),
    pytest.param((9, 0)),
)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SHAPES = {
    torch.float32: ("training",),
    torch.float16: ("frame", "large frame"),
    torch.bfloat16: ("training",),
}
"""Cases in which a type is tried; every kernel takes seconds to compile."""

COMMON = ((torch.float32, "contiguous"), (torch.float16, "channels_last"))


def needs(op: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(op not in OPS, reason=f"there are no kernels of {op}")


def resized(case: Case, label: str, old: tuple[int, int], new: tuple[int, int]) -> Case:
    """The case with `new` rows and columns in tensors that have `old` ones."""
    shapes = {
        name: (*shape[:-2], *new) if shape and shape[-2:] == old else shape for name, shape in case.tensors.items()
    }
    return replace(case, label=label, tensors=shapes)


def timed_cases(op: str) -> dict[str, Case]:
    """The specification's, and a frame of 540 x 960."""
    cases = {case.label: case for case in SPECIFICATIONS[op].cases if case.timed}
    if "frame" in cases:
        cases["large frame"] = resized(cases["frame"], "large frame", (180, 320), (540, 960))
    return cases


def layouts(case: Case) -> list[str]:
    """What the first tensor can have."""
    return list(LAYOUTS) if len(next(iter(case.tensors.values())) or ()) == 4 else ["contiguous"]


def common_variants(op: str) -> list[Variant]:
    """The two commonest."""
    cases = timed_cases(op)
    case = cases.get("frame", cases["training"])
    return [(case, *kind) for kind in COMMON if kind[1] in layouts(case)]


def further_variants(op: str) -> list[Variant]:
    """All types, layouts and sizes that matter."""
    cases = timed_cases(op)
    return [
        (case, dtype, layout)
        for dtype, labels in SHAPES.items()
        for case in cases.values()
        if case.label in labels or len(cases) == 1
        for layout in layouts(case)
    ]


def rarer_variants(op: str) -> list[Variant]:
    """Larger filters, other scales, whole grey levels."""
    cases = timed_cases(op)
    if op == "blur_downsample":
        case = cases["training"]
        other = {"x2": {"scale": 2}, "x3": {"scale": 3}, "s-fold": {"scale": 4, "mode": "s-fold"}}
        rarer = [replace(case, label=label, options=options, timed=False) for label, options in other.items()]
        rarer.append(replace(resized(case, "127x127", (21, 21), (127, 127)), timed=False))
        return [(case, torch.uint8, "contiguous"), *((case, torch.float32, "contiguous") for case in rarer)]
    if "kernel" not in cases["frame"].tensors:
        return []
    frame = replace(cases["frame"], timed=False)
    larger = [resized(frame, f"{size}x{size}", (3, 3), (size, size)) for size in (5, 7)]
    return [(case, torch.float16, "channels_last") for case in larger]


def run(op: str, case: Case, dtype: torch.dtype, layout: str) -> None:
    """The op and its gradients on tensors without values."""
    module = importlib.import_module(f"dasr_fast.kernels.{op}")
    features = next(iter(case.tensors.values()))
    arguments = {**OPTIONS.get(op, {}), **case.options}
    for name, shape in case.tensors.items():
        wanted = torch.float32 if name == "kernel" and dtype == torch.uint8 else dtype
        tensor = None if shape is None else torch.empty(shape, dtype=wanted, device="meta")
        if tensor is not None and tensor.dim() == 4 and shape == features:
            tensor = tensor.contiguous(memory_format=LAYOUTS[layout])
        arguments[name] = tensor
    y = getattr(module, op)(**arguments)
    BACKWARD.get(op, lambda *_: ())(module, arguments, y, y)


def check(op: str, tried: list[Variant], capability: Capability, arrays: int = 0) -> None:
    """Compile variants of an op, print what they need, and assert that each fits the GPU and keeps to registers.

    `arrays` is how many bytes of a thread may lie in local memory because they are indexed there.
    """
    codes = machine_code([partial(run, op, *variant) for variant in tried], capability)
    needed = [(*variant, code) for variant, several in zip(tried, codes, strict=True) for code in several]
    assert needed
    for case, dtype, layout, code in needed:
        shown = f"{code.kernel}, {case.label}, {str(dtype).removeprefix('torch.')}, {layout}"
        print(f"{shown:80} {code.registers:3} registers {code.shared:6} bytes of shared memory")
        assert code.stack <= arrays, shown
        assert arrays or not code.local, shown
        assert code.shared <= SHARED_MEMORY[capability] * 1024, shown


def named(capability: Capability) -> str:
    return "{}.{}".format(*capability)


@pytest.mark.parametrize("capability", CAPABILITIES, ids=named)
@pytest.mark.parametrize("op", OPS)
def test_nothing_is_spilled(op: str, capability: Capability):
    check(op, common_variants(op), capability)


@pytest.mark.slow
@pytest.mark.parametrize("op", OPS)
def test_nothing_is_spilled_in_other_variants(op: str):
    check(op, further_variants(op) + rarer_variants(op), (9, 0))


@pytest.mark.slow
@needs("da_conv")
def test_nothing_is_spilled_in_tf32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    case = replace(timed_cases("da_conv")["frame"], label="TF32", timed=False)
    check("da_conv", [(case, torch.float32, layout) for layout in LAYOUTS], (9, 0))


@pytest.mark.slow
@needs("da_conv")
def test_many_channels_fit_in_tf32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    wide = next(case for case in SPECIFICATIONS["da_conv"].cases if case.label == "wide")
    check("da_conv", [(wide, torch.float32, layout) for layout in LAYOUTS], (8, 6))


@pytest.mark.skipif(importlib.util.find_spec("dasr_fast.kernels.gaussian_kernel") is None, reason="there is none")
@pytest.mark.parametrize("capability", CAPABILITIES, ids=named)
def test_nothing_is_spilled_in_gaussian_kernel(capability: Capability):
    widths = {"sigma_x": (32,), "sigma_y": (32,), "theta": (32,)}
    cases = [
        Case("21x21", widths, {"size": 21}),
        Case("21x21, isotropic", {**widths, "sigma_y": None}, {"size": 21}),
        Case("128x128", widths, {"size": 128}),
    ]
    # The sine of a large angle takes an array.
    check("gaussian_kernel", [(case, torch.float32, "contiguous") for case in cases], capability, arrays=32)


def test_the_absent_gpu_is_gone_afterwards():
    before = driver._active, JITFunction.run
    machine_code([], (9, 0))
    with pytest.raises(ZeroDivisionError):
        machine_code([lambda: 1 / 0], (9, 0))
    assert (driver._active, JITFunction.run) == before


Call = Callable[[], None]


def problems() -> tuple[tuple[launch_options.Problem, Call], ...]:
    """What ops ask options for in their cases, and a call that does."""
    found = []

    def ask(call: Call) -> None:
        def remember(*values: Any) -> launch_options.Problem:
            found.append((problem(*values), call))
            return found[-1][0]

        with pytest.MonkeyPatch.context() as patch, launches(lambda *_: None):
            patch.setattr(launch_options, "Problem", remember)
            call()

    problem = launch_options.Problem
    for op in OPS:
        for case in (*SPECIFICATIONS[op].cases, *timed_cases(op).values(), *(case for case, *_ in rarer_variants(op))):
            for dtype in (*SHAPES, torch.uint8) if op == "blur_downsample" else SHAPES:
                for layout in layouts(case):
                    ask(partial(run, op, case, dtype, layout))
    return tuple(found)


def compile_stored(path: Path) -> list[MachineCode]:
    """Machine code of the kernels with the options that a file like those of `kernels/configs` stores.

    Options that are stored several times for a kernel and layout are tried once, in float32 if it is among the types.
    """
    stored = json.loads(path.read_text())
    distinct: dict[Any, dict[str, Any]] = {}
    for entry in sorted(stored["tuned"], key=lambda entry: entry["dtype"] != "float32"):
        distinct.setdefault((entry["kernel"], entry["layout"], *sorted(entry["options"].items())), entry)
    known = problems()
    calls = []
    for entry in distinct.values():
        dtype = "float32" if entry["dtype"] == "tf32" else entry["dtype"]
        asked = launch_options.Problem(entry["kernel"], dtype, entry["layout"], tuple(entry["sizes"]))
        call = launch_options.nearest(asked, known)
        assert call is not None, f"no op asks for {asked}"
        calls.append(partial(launch_with, asked.kernel, entry["options"], call, entry["dtype"] == "tf32"))
    codes = machine_code(calls, tuple(stored["capability"]))
    unused = [entry for entry, several in zip(distinct.values(), codes, strict=True) if not several]
    assert not unused, f"no launch takes these options: {unused}"
    return [code for several in codes for code in several]


def launch_with(kernel: str, options: dict[str, int], call: Call, tf32: bool) -> None:
    """Call with these options of a kernel, and launch nothing else."""
    run = JITFunction.run

    def launch_chosen(function: JITFunction, arguments: tuple[Any, ...], given: dict[str, Any]) -> None:
        if options.items() <= given.items():
            run(function, *arguments, **given)

    with pytest.MonkeyPatch.context() as patch, launch_options.forced(kernel, options), launches(launch_chosen):
        patch.setattr(torch.backends.cudnn, "allow_tf32", tf32)
        call()


@pytest.mark.parametrize("path", sorted(launch_options.CONFIGURATIONS.glob("*.json")), ids=lambda path: path.stem)
def test_stored_options_compile(path: Path):
    capability = tuple(json.loads(path.read_text())["capability"])
    too_large = [code for code in compile_stored(path) if code.shared > SHARED_MEMORY[capability] * 1024]
    assert not too_large, "\n".join(map(str, too_large))


def store(path: Path, kernel: str, **options: int) -> Path:
    problem = {"kernel": kernel, "dtype": "float16", "layout": "channels_last", "sizes": (1, 64, 9, 9)}
    path.write_text(json.dumps({"capability": [9, 0], "tuned": [{**problem, "options": options}]}))
    return path


@needs("channel_modulation")
def test_stored_options_are_those_compiled(tmp_path: Path):
    (code,) = compile_stored(store(tmp_path / "gpu.json", "modulation", BLOCK_C=32, BLOCK_W=16, num_warps=2))
    assert (code.kernel, code.warps) == ("channel_modulation._forward", 2)


@needs("channel_modulation")
def test_stored_options_that_fail_are_noticed(tmp_path: Path):
    with pytest.raises(CompilationError):
        compile_stored(store(tmp_path / "gpu.json", "modulation", BLOCK_C=33, BLOCK_W=16, num_warps=2))
    with pytest.raises(AssertionError, match="no op asks for"):
        compile_stored(store(tmp_path / "gpu.json", "nothing", BLOCK_C=32))
