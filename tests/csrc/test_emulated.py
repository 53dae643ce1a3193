"""CUDA kernels of features, and the Python modules that call them, emulated on the CPU, against float64.

The emulation itself complains about every kind of wrong kernel.
"""

import importlib
from typing import Any

import pytest
import torch
from csrc.emulation import LAYOUTS, VARIANTS, EmulationError, emulate, load
from torch import Tensor

from dasr_fast.compiled.cuda import shared_memory
from tests.specification import SPECIFICATIONS, Case, distance
from tests.specification.gradients import BACKWARD, OPTIONS

pytestmark = pytest.mark.usefixtures("_poisoned")

CHANNELS_LAST = torch.channels_last

SLOW = ("medium", "wide")
"""Cases that would take minutes, but for channel modulation."""


def case(op: str, b: int, c: int, h: int, w: int, *, k: int = 3, out: int | None = None, gate: bool = True) -> Case:
    """A call with every optional tensor but maybe the gate."""
    known = {"x": (b, c, h, w), "kernel": (b, c, k, k), "weight": (out or c, c), "bias": (out or c,)}
    known |= {"gate": (b, c) if gate else None, "residual": (b, c, h, w)}
    tensors = {name: known[name] for name in SPECIFICATIONS[op].cases[0].tensors}
    options = {"da_conv": {"activate": h % 2 == 1}, "dynamic_depthwise_conv": {"negative_slope": 0.1}}.get(op, {})
    return Case(f"{b}x{c}x{h}x{w}, {k}x{k}, {out or c} out", tensors, options)


SHAPES = {
    "channel_modulation": [(2, 12, 5, 7), (1, 16, 33, 31), (1, 300, 3, 4), (1, 2056, 1, 1)],
    "dynamic_depthwise_conv": [
        *((1, 4, 13, 9, 1), (2, 12, 21, 12, 3), (1, 6, 10, 30, 5), (1, 3, 12, 8, 7), (1, 260, 1, 2, 3))
    ],
    "da_conv": [(1, 64, 9, 17), (2, 16, 5, 24), (1, 33, 7, 5, 7), (1, 5, 3, 19, 1)],
}
"""B, C, H, W and k, tried in every type and layout; the specification's cases are tried in two, but for the first."""


def calls() -> list[Any]:
    """Op, case, type and layout; what takes a minute to compile with sanitizers is slow."""
    found = []
    for op, shapes in SHAPES.items():
        own = [one for one in SPECIFICATIONS[op].cases if not one.timed]
        own = [one for one in own if op == "channel_modulation" or one.label not in SLOW]
        further = [case(op, *shape[:4], k=(*shape, 3)[4]) for shape in shapes]
        for index, one in enumerate((*own, *further)):
            thorough = index == 0 or one in further
            for dtype, layout in VARIANTS if thorough else (VARIANTS[0], VARIANTS[3]):
                name = f"{op}-{one.label}-{str(dtype).removeprefix('torch.')}-{layout}"
                marks = () if op == "channel_modulation" else pytest.mark.slow
                found.append(pytest.param(op, one, dtype, layout, id=name, marks=marks))
    return found


def check(op: str, case: Case, dtype: torch.dtype, layout: str, **options: Any) -> None:
    """Result and gradients."""
    given = SPECIFICATIONS[op].arguments(case, dtype)
    arguments = {name: given[name] for name in case.tensors}
    arguments |= {name: given.get(name, value) for name, value in OPTIONS[op].items()}
    arguments["x"] = x = LAYOUTS[layout](arguments["x"])
    cuda, exact = load(op, **{"seeds": 2, **options}), importlib.import_module(f"dasr_fast.reference.{op}")
    # Features of one pixel are of every layout at once, which this op's module doesn't take from others.
    assert (op == "da_half_block" and x[:1, :1].numel() <= 1) or cuda.unsupported(*arguments.values()) is None
    y = getattr(cuda, op)(*arguments.values())
    other = "channels-last" if layout == "sliced" else layout
    grad = LAYOUTS[other](torch.randn(y.shape, dtype=dtype))
    wide = {name: value.double() if isinstance(value, Tensor) else value for name, value in arguments.items()}
    results = [y, *BACKWARD[op](cuda, arguments, y, grad)]
    targets = [getattr(exact, op)(*wide.values()), *BACKWARD[op](exact, wide, y, grad.double())]
    kept = CHANNELS_LAST if "channels-last" in layout else torch.contiguous_format
    assert all(r.is_contiguous(memory_format=kept) for r in results if r.shape == x.shape and r.numel() > 0)
    for number, (result, target) in enumerate(zip(results, targets, strict=True)):
        assert result.dtype == dtype
        limit = (2 if number else 1) * SPECIFICATIONS[op].tolerance[dtype]
        assert distance(result, target) <= limit, number


@pytest.mark.parametrize(("op", "case", "dtype", "layout"), calls())
def test_agrees_with_float64(op: str, case: Case, dtype: torch.dtype, layout: str):
    # Strips are longer on a smaller GPU.
    check(op, case, dtype, layout, multiprocessors=1 if dtype == torch.float32 else 8)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["contiguous", "channels-last"])
@pytest.mark.parametrize("op", SHAPES)
def test_sums_in_parts(op: str, layout: str):
    check(op, case(op, 1, 16, 13, 24), torch.float16, layout, parts=5)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(1, 136, 4, 8, 3, 136), (1, 72, 3, 16, 5, 40), (1, 40, 3, 5, 3, 130)], ids=str)
def test_many_channels(shape: tuple[int, ...], dtype: torch.dtype):
    *sizes, k, out = shape
    check("da_conv", case("da_conv", *sizes, k=k, out=out, gate=sizes[1] == out), dtype, "channels-last")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("channels", "out", "k"), [(64, 64, 3), (8, 8, 7), (70, 9, 1), (9, 70, 5)])
def test_shared_memory_is_what_is_said(channels: int, out: int, k: int, dtype: torch.dtype):
    needed = shared_memory.of_da_conv(channels, out, k, dtype.itemsize)
    one = case("da_conv", 1, channels, 2, 3, k=k, out=out, gate=False)
    check("da_conv", one, dtype, "channels-last", most_shared_memory=needed)
    with pytest.raises(EmulationError, match="more shared memory than there is"):
        check("da_conv", one, dtype, "channels-last", most_shared_memory=needed - 1)


def test_float64_is_refused():
    x, gate = torch.zeros(1, 2, 3, 3, dtype=torch.float64), torch.zeros(1, 2, dtype=torch.float64)
    assert load("channel_modulation").unsupported(x, gate, None) == "it computes in float32, and x is float64"


def half_block(dtype: torch.dtype, size: tuple[int, int, int], left_out: str = "", **options: Any) -> None:
    """Check half of a block with 64 channels, channels-last."""
    b, h, w = size
    shapes = {"x": (b, 64, h, w), "kernel": (b, 64, 3, 3), "weight": (64, 64), "bias": (64,), "gate": (b, 64)}
    shapes |= {"conv_weight": (64, 64, 3, 3), "conv_bias": (64,), "residual": (b, 64, h, w)}
    shapes |= {left_out: None} if left_out else {}
    activation = {"negative_slope": options.pop("slope", 0.1), "activate": options.pop("activate", True)}
    check("da_half_block", Case("", shapes, activation), dtype, "channels-last", seeds=3, **options)


F16, BF16 = torch.float16, torch.bfloat16
SMALL, LEFT_OUT = (1, 5, 7), ("bias", "gate", "conv_bias", "residual")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "size", "options"),
    [
        *((d, (2, 15, 21), {"rows": rows, "multiprocessors": 3}) for d in (F16, BF16) for rows in (4, 6, 10, 12)),
        *((F16, (1, *hw), {"rows": 4, "multiprocessors": 2}) for hw in ((1, 1), (4, 16), (5, 17), (2, 40), (25, 3))),
        *((F16, SMALL, {"rows": 4, "left_out": name}) for name in LEFT_OUT),
        *((BF16, SMALL, {"rows": 4, "activate": on, "slope": slope}) for on in (False, True) for slope in (0.0, 1.0)),
        (F16, (3, 13, 33), {"multiprocessors": 2}),
        (F16, (1, 9, 18), {"most_shared_memory": shared_memory.DA_HALF_BLOCK}),
        (F16, (0, 4, 5), {}),
    ],
)
def test_half_a_block(dtype: torch.dtype, size: tuple[int, int, int], options: dict[str, Any]):
    half_block(dtype, size, **options)


@pytest.mark.slow
def test_half_a_block_in_too_little_shared_memory():
    with pytest.raises(EmulationError, match="too little shared memory"):
        half_block(F16, (1, 9, 18), most_shared_memory=shared_memory.DA_HALF_BLOCK - 1)


@pytest.mark.parametrize(
    ("label", "dtype", "layout", "reason"),
    [
        ("medium", torch.float32, CHANNELS_LAST, "float16 and bfloat16, and x is float32"),
        ("medium", torch.float16, torch.contiguous_format, "channels-last features"),
        ("small", torch.float16, CHANNELS_LAST, "64 channels everywhere, and there are 8, 8 and 8"),
        ("5x5, ReLU", torch.float16, CHANNELS_LAST, "64 channels everywhere"),
    ],
)
def test_half_a_block_says_what_it_can_not(label: str, dtype: torch.dtype, layout: torch.memory_format, reason: str):
    one = next(case for case in SPECIFICATIONS["da_half_block"].cases if case.label == label)
    tensors = SPECIFICATIONS["da_half_block"].arguments(one, dtype)
    arguments = [tensors.pop("x").contiguous(memory_format=layout), *tensors.values()]
    assert reason in load("da_half_block").unsupported(*arguments)


def reverse(mistake: str) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(64), torch.full((64,), torch.nan)
    emulate("emulation_reverse", x=x, y=y, mistake=mistake)
    return x, y


def test_right_kernel_and_shared_memory_that_nobody_wrote():
    x, y = reverse("none")
    assert torch.equal(y, x.flip(0))
    _, y = reverse("unwritten")
    assert y.isnan().nonzero().tolist() == [[63 - 5]]


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        ("no barrier", "y depends on the order of threads"),
        ("diverging barrier", "wait for the block at different places"),
        ("early end", "some threads have ended where others wait for the block"),
        ("outside", "heap-buffer-overflow"),
        ("too far", "heap-buffer-overflow"),
        ("diverging warp", "some threads of a warp don't come"),
        ("misaligned", "misaligned address"),
    ],
)
def test_mistakes_are_noticed(mistake: str, complaint: str):
    with pytest.raises(EmulationError, match=complaint):
        reverse(mistake)


def test_reading_a_copy_before_it_is_waited_for_is_nan():
    x, y = torch.randn(200), torch.empty(256)
    emulate("emulation_copy", x=x, y=y)
    assert y[:128].isnan().all()
    assert torch.equal(y[128:], torch.cat([x[128:], torch.zeros(56)]))
