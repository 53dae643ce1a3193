"""CUDA kernels of `blur_downsample`, and the module that calls them, emulated on the CPU, against float64."""

import importlib
from typing import Any

import pytest
import torch
from csrc.emulation import LAYOUTS, load
from torch import Tensor

from tests.specification import SPECIFICATIONS, Case, distance
from tests.specification.blur_downsample import check_noisy

pytestmark = [
    pytest.mark.usefixtures("_poisoned"),
    pytest.mark.slow,  # Its kernels take a minute to compile with sanitizers.
]

SPECIFICATION = SPECIFICATIONS["blur_downsample"]
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
cuda = load("blur_downsample")
oracle = importlib.import_module("dasr_fast.reference.blur_downsample")
RAW = cuda.cuda


def case(hr: tuple[int, ...], kernel: tuple[int, int], scale: int, mode: str = "bicubic") -> Case:
    label = f"{'x'.join(map(str, hr))}, {kernel[0]}x{kernel[1]}, {mode} x{scale}"
    return Case(label, {"hr": hr, "kernel": (hr[0], *kernel)}, {"scale": scale, "mode": mode})


SMALL = [case for case in SPECIFICATION.cases if not case.timed]
CASES = [
    *SMALL,
    case((1, 2, 66, 100), (21, 21), 2),  # 14 columns of a phase in a pass.
    case((1, 1, 51, 78), (21, 21), 3),  # 11; 26 outputs: two tiles that overlap.
    case((1, 1, 36, 100), (21, 21), 4),  # 9; 25 outputs.
    case((1, 1, 80, 192), (21, 21), 4),  # Vectors, and 20 rows of outputs: the classes of a tile don't begin at 0.
    case((1, 1, 21, 9), (3, 3), 1),
    case((1, 1, 40, 26), (21, 17), 1),  # Three passes, and the image smaller than the window.
    case((1, 1, 8, 6 * 4), (1, 1), 4),
    case((1, 1, 8, 9 * 2), (3, 5), 2),
    case((1, 1, 12, 10 * 2), (2, 3), 2),
    case((1, 1, 12, 17 * 2), (2, 3), 2),
    case((1, 1, 12, 17 * 2), (2, 3), 2, "s-fold"),
]
VARIANTS = [
    pytest.param(case, dtype, id=f"{case.label}, {str(dtype).removeprefix('torch.')}")
    for case in CASES
    for dtype in (DTYPES if case in SMALL[:2] else DTYPES[:1])
]


def arguments_of(case: Case, dtype: torch.dtype = torch.float32) -> list[Any]:
    arguments = SPECIFICATION.arguments(case, dtype)
    return [arguments["hr"], arguments["kernel"], arguments["scale"], arguments.get("mode", "bicubic")]


def exact(hr: Tensor, kernel: Tensor, *options: Any) -> Tensor:
    return oracle.blur_downsample(hr.double(), kernel.double(), *options)


def check_result(hr: Tensor, kernel: Tensor, *options: Any) -> Tensor:
    y = cuda.blur_downsample(hr, kernel, *options)
    assert y.dtype == (torch.float32 if hr.dtype == torch.uint8 else hr.dtype)
    assert distance(y, exact(hr, kernel, *options)) <= SPECIFICATION.tolerance[y.dtype]
    return y


def check(hr: Tensor, kernel: Tensor, *options: Any, layout: str = "contiguous") -> None:
    """Result and gradients."""
    hr = LAYOUTS[layout](hr)
    y = check_result(hr, kernel, *options)
    if y.dim() == 4 and y.shape[1] > 1:
        assert y.is_contiguous(memory_format=torch.channels_last) == ("channels-last" in layout)
    limit = 2 * SPECIFICATION.tolerance[y.dtype]
    grad = LAYOUTS[layout](torch.randn(y.shape, dtype=y.dtype))
    wide = [tensor.double() for tensor in (grad, hr, kernel)]
    for name in ("blur_downsample_grad_hr", "blur_downsample_grad_kernel"):
        result, target = getattr(cuda, name)(grad, hr, kernel, *options), getattr(oracle, name)(*wide, *options)
        assert distance(result, target) <= limit, name


@pytest.mark.parametrize(("case", "dtype"), VARIANTS)
def test_agrees_with_float64(case: Case, dtype: torch.dtype):
    check(*arguments_of(case, dtype))


@pytest.mark.parametrize(
    ("height", "width", "scale", "multiprocessors"),
    [
        (80, 192, 4, 1),
        (66, 100, 2, 1),
        (51, 96, 3, 1),
        (30, 90, 1, 1),
        (40, 68, 4, 2),  # 17 outputs, in two tiles of 16: column 1 is the first of the second tile too.
    ],
)
def test_large_tiles(height: int, width: int, scale: int, multiprocessors: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RAW, "options", {"multiprocessors": multiprocessors})
    check_result(*arguments_of(case((1, 1, height, width), (21, 21), scale)))


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        *((torch.uint8, layout) for layout in LAYOUTS if layout != "sliced"),
        (torch.float32, "misaligned"),
        (torch.float16, "channels-last"),
    ],
    ids=str,
)
def test_layouts(dtype: torch.dtype, layout: str):
    hr, kernel, *options = arguments_of(case((2, 3, 24, 40), (5, 4), 2))
    check(hr.to(dtype), kernel, *options, layout=layout)


@pytest.mark.parametrize("quantize", [False, True])
def test_noise(quantize: bool):
    hr, kernel, *options = arguments_of(case((2, 3, 24, 40), (5, 4), 2))
    hr = LAYOUTS["channels-last"](hr)
    noise, level = torch.randn(2, 3, 12, 20), torch.tensor([200.0, 3.0])
    y = cuda.blur_downsample(hr, kernel, *options, noise, level, quantize)
    noisy = exact(hr, kernel, *options) + noise.double() * level.double()[:, None, None, None]
    check_noisy(y, noisy, quantize=quantize)


@pytest.mark.parametrize("most_shared_memory", [227 * 1024, 64 * 1024])
@pytest.mark.parametrize(("size", "scale"), [(64, 4), (53, 3), (41, 2), (30, 1)])
def test_several_chunks(size: int, scale: int, most_shared_memory: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RAW, "options", {"most_shared_memory": most_shared_memory, "seeds": 2})
    check_result(*arguments_of(case((1, 1, 4 * 17, 40), (size, size), scale)))


def test_largest_kernel(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(RAW, "options", {"seeds": 1})
    arguments = arguments_of(case((1, 1, 68, 72), (128, 128), 4))
    assert cuda.unsupported(*arguments) is None
    check_result(*arguments)
    assert "128x128" in cuda.unsupported(torch.empty(1, 1, 80, 80), torch.empty(1, 129, 3), 1, "bicubic")
