"""Every kernel, compiled for four generations of GPUs without having one, keeps its values in registers."""

import importlib
import importlib.util
import inspect
import re
import subprocess
import tempfile
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from dasr_fast import reference
from tests.specification import SPECIFICATIONS, Case
from tests.specification.gradients import BACKWARD, OPTIONS

pytest.importorskip("triton")

import triton
from triton.compiler import CompiledKernel
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from tests.kernels.compilation import AbsentGPU, compiled_together

Capability = tuple[int, int]
Variant = tuple[Case, torch.dtype, str]

SHARED_MEMORY = {(8, 0): 163, (8, 6): 99, (8, 9): 99, (9, 0): 227, (10, 0): 227, (12, 0): 99}
"""KiB of shared memory that a block can have, by compute capability (CUDA C++ Programming Guide)."""


def obstacle() -> str | None:
    """Why nothing can be compiled here, or None."""
    if triton.knobs.runtime.interpret:
        return "Triton interprets its kernels"
    try:
        return None if triton.knobs.nvidia.cuobjdump.path else "there is no cuobjdump"
    except RuntimeError as error:
        return str(error)


def compiled(op: str, tried: list[Variant], capability: Capability) -> list[tuple[str, CompiledKernel]]:
    """Kernels that variants of an op launch, on tensors of the meta device, for a GPU of that compute capability.

    Each is compiled once, on all cores, and comes with what to call it.
    """
    compile_one = JITFunction.run
    found: list[tuple[str, Any]] = []

    def compile_only(kernel: JITFunction, *arguments: Any, **options: Any) -> None:
        name = f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}, {label}"
        found.append((name, compile_one(kernel, *arguments, **{**options, "warmup": True})))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "_active", AbsentGPU(capability))
        patch.setattr(JITFunction, "run", compile_only)
        with compiled_together():
            for case, dtype, layout in tried:
                label = f"{case.label}, {str(dtype).removeprefix('torch.')}, {layout}"
                run(op, case, dtype, layout)
    return [(name, k if isinstance(k, CompiledKernel) else k.result()) for name, k in found]  # Or its error.


@cache
def resources(kernel: CompiledKernel) -> tuple[int, int, int]:
    """Registers of a thread, bytes of its stack, loads from and stores to local memory."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "-res-usage", "-sass", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack = re.findall(r"REG:(\d+) STACK:(\d+)", text)[0]
    return int(registers), int(stack), len(re.findall(r"\b(?:LDL|STL)\b", text))


pytestmark = pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))

OPS = [op for op in SPECIFICATIONS if op != "gaussian_kernel" and importlib.util.find_spec(f"dasr_fast.kernels.{op}")]
"""Ops with kernels, of features or images."""

CAPABILITIES = (
    *(pytest.param(capability, marks=pytest.mark.slow) for capability in ((8, 0), (8, 6), (12, 0))),
    pytest.param((9, 0)),
)
LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
SHAPES = {torch.float32: ("training",), torch.float16: ("frame", "large frame"), torch.bfloat16: ("training",)}
"""Cases in which a type is tried; every kernel takes seconds to compile."""

COMMON = ((torch.float32, "contiguous"), (torch.float16, "channels_last"))


def resized(case: Case, label: str, old: tuple[int, int], new: tuple[int, int]) -> Case:
    """The case with `new` rows and columns in tensors that have `old` ones."""
    given = case.tensors.items()
    shapes = {name: (*shape[:-2], *new) if shape and shape[-2:] == old else shape for name, shape in given}
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
    names = inspect.signature(getattr(reference, op)).parameters
    y = getattr(module, op)(*(arguments[name] for name in names if name in arguments))
    BACKWARD.get(op, lambda *_: ())(module, arguments, y, y)


def check(op: str, tried: list[Variant], capability: Capability, arrays: int = 0) -> None:
    """Compile variants of an op, print what they need, and assert that each fits the GPU and keeps to registers.

    `arrays` is how many bytes of a thread may lie in local memory because they are indexed there.
    """
    kernels = compiled(op, tried, capability)
    assert kernels
    for name, kernel in kernels:
        (registers, stack, local), shared = resources(kernel), kernel.metadata.shared
        print(f"{name:80} {registers:3} registers {shared:6} bytes of shared memory")
        assert stack <= arrays, name
        assert arrays or not local, name
        assert shared <= SHARED_MEMORY[capability] * 1024, name


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
def test_nothing_is_spilled_in_tf32(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    wide = next(case for case in SPECIFICATIONS["da_conv"].cases if case.label == "wide")
    for case, capability in ((timed_cases("da_conv")["frame"], (9, 0)), (wide, (8, 6))):
        check("da_conv", [(case, torch.float32, layout) for layout in LAYOUTS], capability)


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
