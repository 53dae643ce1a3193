import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from dasr_fast.kernels import options as module
from dasr_fast.kernels.options import Problem, choose, file_stem, forced, nearest, problem, tuned

FRAME = Problem("modulation", "float16", "channels_last", (1, 64, 180, 320))
SMALL, LARGE = {"BLOCK_C": 32, "num_warps": 2}, {"BLOCK_C": 64, "num_warps": 8}
DEFAULT = {"BLOCK_C": 16, "num_warps": 4}
TUNED = (("modulation", (32, 64, 48, 48), SMALL), ("modulation", (1, 64, 540, 960), LARGE))


@pytest.fixture
def _tuned_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU, "NVIDIA GeForce Test 1", for which options are stored."""
    entries = [
        {"kernel": kernel, "dtype": "float16", "layout": "channels_last", "sizes": sizes, "options": options}
        for kernel, sizes, options in TUNED
    ]
    (tmp_path / "test_1.json").write_text(json.dumps({"capability": [9, 0], "tuned": entries}))
    monkeypatch.setattr(module, "CONFIGURATIONS", tmp_path)
    pretend(monkeypatch, "NVIDIA GeForce Test 1", (9, 0))
    yield
    forget()


def pretend(monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int]) -> None:
    """That there is such a GPU."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    forget()


def forget() -> None:
    for cached in (module.tuned, module._tuned_for):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("NVIDIA H200", "h200"),
        ("NVIDIA GeForce RTX 4090", "rtx_4090"),
        ("NVIDIA A100-SXM4-80GB", "a100_sxm4_80gb"),
        ("Tesla V100-SXM2-16GB", "tesla_v100_sxm2_16gb"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx_6000_ada_generation"),
        ("h200", "h200"),
    ],
)
def test_file_stem(name: str, stem: str):
    assert file_stem(name) == stem


def sized(*sizes: int, **others: str) -> Problem:
    return Problem(**{"kernel": "k", "dtype": "float32", "layout": "contiguous", "sizes": sizes, **others})


@pytest.mark.parametrize(
    ("asked", "stored", "best"),
    [
        # By factors, of one more so that none is by zero: 5/3 and 8/5, though 4 - 2 is less than 7 - 4.
        ((4,), [(2,), (7,)], 1),
        # 33/2 * 181/49 * 321/49 = 399 and 541/181 * 961/321 = 8.9.
        ((1, 64, 180, 320), [(32, 64, 48, 48), (1, 64, 540, 960)], 1),
        # 33/17 and 17/2.
        ((16, 64, 48, 48), [(32, 64, 48, 48), (1, 64, 48, 48)], 0),
        # 3/2 * 4 = 6 and 5: factors multiply.
        ((1, 0), [(2, 3), (1, 4)], 1),
        # 2 both ways: the first.
        ((3,), [(7,), (1,)], 0),
    ],
)
def test_nearest(asked: tuple[int, ...], stored: list[tuple[int, ...]], best: int):
    known = tuple((sized(*sizes), {"BLOCK": index + 1}) for index, sizes in enumerate(stored))
    assert nearest(sized(*asked), known) == {"BLOCK": best + 1}


@pytest.mark.parametrize("other", [{"kernel": "l"}, {"dtype": "float16"}, {"layout": "channels_last"}])
def test_nearest_is_alike(other: dict[str, str]):
    known = ((sized(4, **other), {"BLOCK": 1}), (sized(400), {"BLOCK": 2}))
    assert nearest(sized(4), known) == {"BLOCK": 2}
    assert nearest(sized(4), known[:1]) is None
    assert nearest(sized(4), ()) is None


@pytest.mark.usefixtures("_tuned_gpu")
def test_tuned(tmp_path: Path):
    expected = [(Problem(kernel, "float16", "channels_last", sizes), options) for kernel, sizes, options in TUNED]
    for name in ("NVIDIA GeForce Test 1", "NVIDIA Test 2"):
        assert [(known, dict(options)) for known, options in tuned(name, (9, 0))] == expected
    assert tuned("NVIDIA Test 2", (8, 0)) == ()
    # What was tuned on the GPU itself comes first.
    own = [{"kernel": "k", "dtype": "float32", "layout": "contiguous", "sizes": [1], "options": SMALL}]
    (tmp_path / "test_2.json").write_text(json.dumps({"capability": [9, 0], "tuned": own}))
    forget()
    assert [known.kernel for known, _ in tuned("NVIDIA Test 2", (9, 0))] == ["k"]
    assert [known.kernel for known, _ in tuned("NVIDIA Test 3", (9, 0))] == ["modulation", "modulation"]


@pytest.mark.usefixtures("_tuned_gpu")
def test_choose(monkeypatch: pytest.MonkeyPatch):
    gpu = torch.device("cuda")
    assert (choose(FRAME, DEFAULT, gpu), choose(FRAME, DEFAULT, torch.device("cpu"))) == (LARGE, DEFAULT)
    assert choose(Problem("modulation", "float16", "channels_last", (16, 64, 48, 48)), DEFAULT, gpu) == SMALL
    assert choose(Problem("modulation", "float32", "channels_last", (16, 64, 48, 48)), DEFAULT, gpu) == DEFAULT
    assert choose(Problem("depthwise", "float16", "channels_last", (1, 64, 180, 320)), DEFAULT, gpu) == DEFAULT
    with forced("modulation", SMALL):
        assert choose(FRAME, DEFAULT, gpu) == SMALL
    # Options that a kernel no longer has are not taken.
    for options in ({"BLOCK_D": 16, "num_warps": 4}, {**DEFAULT, "num_stages": 3}):
        assert choose(FRAME, options, gpu) == options
    pretend(monkeypatch, "NVIDIA GeForce Test 2", (8, 0))
    assert choose(FRAME, DEFAULT, gpu) == DEFAULT


def test_forced_ends():
    cpu = torch.device("cpu")
    with forced("modulation", LARGE), forced("depthwise", SMALL):
        assert choose(FRAME, DEFAULT, cpu) == LARGE
    assert choose(FRAME, DEFAULT, cpu) == DEFAULT
    with pytest.raises(ZeroDivisionError), forced("modulation", LARGE):
        math.floor(1 / 0)
    assert choose(FRAME, DEFAULT, cpu) == DEFAULT
    with forced("modulation", LARGE):
        with forced("modulation", SMALL):
            assert choose(FRAME, DEFAULT, cpu) == SMALL
        assert choose(FRAME, DEFAULT, cpu) == LARGE
    assert choose(FRAME, DEFAULT, cpu) == DEFAULT


def test_problem():
    x = torch.empty(2, 4, 5, 6, dtype=torch.bfloat16)
    assert problem("k", x, 2, 4) == Problem("k", "bfloat16", "contiguous", (2, 4))
    channels_last = x.contiguous(memory_format=torch.channels_last)
    assert problem("k", channels_last).layout == "channels_last"
    assert problem("k", channels_last[..., 1:-1, 1:]).layout == "channels_last"
    assert problem("k", channels_last[:, :1]).layout == "contiguous"
    assert problem("k", x[:, None]).layout == "contiguous"


def test_options_for_another_filter_or_width_are_not_taken():
    stored = ((Problem("da_conv", "tf32", "contiguous", (32, 64, 48, 48, 64, 3)), {"BLOCK_P": 32}),)
    assert nearest(Problem("da_conv", "tf32", "contiguous", (1, 64, 9, 999, 64, 3)), stored) == {"BLOCK_P": 32}
    assert nearest(Problem("da_conv", "tf32", "contiguous", (32, 64, 48, 48, 64, 7)), stored) is None
    assert nearest(Problem("da_conv", "tf32", "contiguous", (32, 64, 48, 48, 256, 3)), stored) is None
    assert nearest(Problem("da_conv", "float32", "contiguous", (32, 64, 48, 48, 64, 3)), stored) is None
