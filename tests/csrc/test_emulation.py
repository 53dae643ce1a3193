"""The emulation of thread blocks: right results for right kernels, and a complaint about every kind of wrong one."""

import pytest
import torch
from csrc.emulation import EmulationError, emulate
from torch import Tensor

MISTAKES = (
    "none",
    "no barrier",
    "diverging barrier",
    "early end",
    "outside",
    "too far",
    "unwritten",
    "diverging warp",
    "misaligned",
)
"""As in `run_emulation.cpp`."""

WGMMA_MISTAKES = (
    "none",
    "no fence of shared memory",
    "no fence",
    "no commit",
    "no wait",
    "early sum",
    "one warp less",
    "other matrix",
)
"""As in `run_emulation.cpp`."""


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tensor_core_product(dtype: torch.dtype, transposed: bool):
    a, b, d = torch.randn(16, 16, dtype=dtype), torch.randn(16, 8, dtype=dtype), torch.empty(16, 8)
    stored = b.T.contiguous() if transposed else b
    emulate("emulation_product", a=a, b=stored, d=d, transposed=transposed)
    torch.testing.assert_close(d.double(), a.double() @ b.double(), rtol=1e-6, atol=1e-6)


def test_transposed_matrix():
    x, y = torch.randn(8, 8, dtype=torch.float16), torch.empty(8, 8, dtype=torch.float16)
    emulate("emulation_transpose", x=x, y=y)
    assert torch.equal(y, x.T)


SHARED_MEMORY = 1024
"""Address of a block's shared memory."""


def descriptor(first: int, leading: int, stride: int, layout: int = 0) -> int:
    """Of a matrix for wgmma, all in bytes; `layout` 0 is that without swizzle."""
    return (SHARED_MEMORY + first) // 16 | leading // 16 << 16 | stride // 16 << 32 | layout << 62


def core_matrices(matrix: Tensor, memory: Tensor, first: int, leading: int, stride: int) -> None:
    """Store a matrix [rows, 16] in core matrices of eight rows of 16 bytes."""
    for row in range(len(matrix)):
        for half in range(2):
            at = (first + row // 8 * stride + row % 8 * 16 + half * leading) // 2
            memory[at : at + 8] = matrix[row, half * 8 : half * 8 + 8]


def wgmma(dtype: torch.dtype, n: int, mistake: str = "none", layout: int = 0, beyond: int = 0) -> tuple[Tensor, Tensor]:
    a, b = torch.randn(64, 16, dtype=dtype), torch.randn(n, 16, dtype=dtype)
    # The planes of a are 65 rows apart, the eights of b's rows have gaps.
    in_a, in_b = (16, 65 * 16, 128), (2 * 65 * 16 + 48, 144, 144 + 128 + 16)
    size = in_b[0] + n // 8 * in_b[2]
    memory = torch.full((size // 2,), torch.nan, dtype=dtype)
    core_matrices(a, memory, *in_a)
    core_matrices(b, memory, *in_b)
    d = torch.full((64, n), torch.nan)
    descriptors = {"a": descriptor(*in_a, layout), "b": descriptor(in_b[0] + beyond, *in_b[1:])}
    emulate("emulation_wgmma", memory=memory, d=d, **descriptors, mistake=WGMMA_MISTAKES.index(mistake))
    return d, 1 + 2 * a.double() @ b.double().T


@pytest.mark.parametrize("n", [24, 256])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_product_by_a_warpgroup(dtype: torch.dtype, n: int):
    d, expected = wgmma(dtype, n)
    torch.testing.assert_close(d.double(), expected, rtol=1e-5, atol=1e-5)


def test_what_a_warpgroup_can_not_see_yet_is_nan():
    d, _ = wgmma(torch.float16, 24, "no fence of shared memory")
    assert d.isnan().all()
    d, expected = wgmma(torch.float16, 24, "early sum")
    assert d[0, 0].isnan()
    torch.testing.assert_close(d[1:].double(), expected[1:], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("mistake", "complaint"),
    [
        ("no fence", "no wgmma.fence came before"),
        ("no commit", "that were not committed"),
        ("no wait", "nobody waited for its products"),
        ("one warp less", "don't give wgmma the same matrices"),
        ("other matrix", "don't give wgmma the same matrices"),
    ],
)
def test_mistakes_with_a_warpgroup_are_noticed(mistake: str, complaint: str):
    with pytest.raises(EmulationError, match=complaint):
        wgmma(torch.float16, 24, mistake)


def test_matrices_of_a_warpgroup_are_checked():
    with pytest.raises(EmulationError, match="a layout that the emulation lacks"):
        wgmma(torch.float16, 24, layout=1)
    with pytest.raises(EmulationError, match="what isn't shared memory"):
        wgmma(torch.float16, 24, beyond=160)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_are_rounded_as_in_torch(dtype: torch.dtype):
    every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype).float()
    between = every + (every.nextafter(torch.tensor(torch.inf)) - every) * torch.rand(2**16)
    middle = (every[1:] + every[:-1]) / 2
    spread = torch.randn(2**16) * torch.logspace(-12, 8, 2**16)
    x = torch.cat([every, between, middle, spread, torch.tensor([65519.0, 65520.0, 2.0**-25, 3.0 * 2**-25])])
    y, back = torch.empty(len(x), dtype=dtype), torch.empty(len(x))
    emulate("emulation_convert", x=x, y=y, back=back)
    torch.testing.assert_close(y, x.to(dtype), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(back, x.to(dtype).float(), rtol=0, atol=0, equal_nan=True)


def test_warp_exchange():
    x, y = torch.randn(3, 64), torch.empty(6, 2)
    emulate("emulation_sum_warps", x=x, y=y)
    torch.testing.assert_close(y, x.reshape(6, 32).sum(1)[:, None].expand(6, 2))


def reverse(mistake: str, seeds: int = 3) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(64), torch.full((64,), torch.nan)
    emulate("emulation_reverse", x=x, y=y, mistake=MISTAKES.index(mistake), seeds=seeds)
    return x, y


def test_right_kernel():
    x, y = reverse("none")
    assert torch.equal(y, x.flip(0))


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


def test_shared_memory_that_nobody_wrote_is_nan():
    _, y = reverse("unwritten")
    assert y.isnan().nonzero().tolist() == [[63 - 5]]


@pytest.mark.parametrize("count", [256, 200])
def test_asynchronous_copies(count: int):
    x, y = torch.randn(count), torch.empty(256)
    emulate("emulation_copy", x=x, y=y, wait=1)
    assert torch.equal(y, torch.cat([x, torch.zeros(256 - count)]))


def test_reading_a_copy_before_it_is_waited_for_is_nan():
    x, y = torch.randn(256), torch.empty(256)
    emulate("emulation_copy", x=x, y=y, wait=2)
    assert y[:128].isnan().all()
    assert torch.equal(y[128:], x[128:])
