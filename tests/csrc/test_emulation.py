"""The emulation of thread blocks: right results for right kernels, and a complaint about every kind of wrong one."""

import pytest
import torch
from csrc.emulation import EmulationError, emulate
from torch import Tensor

pytestmark = pytest.mark.usefixtures("_poisoned")


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tensor_core_product(dtype: torch.dtype, transposed: bool):
    a, b, d = torch.randn(16, 16, dtype=dtype), torch.randn(16, 8, dtype=dtype), torch.empty(16, 8)
    stored = b.T.contiguous() if transposed else b
    emulate("emulation_product", a=a, b=stored, d=d, transposed=transposed)
    torch.testing.assert_close(d.double(), a.double() @ b.double(), rtol=1e-6, atol=1e-6)


def test_warp_exchange():
    x, y = torch.randn(3, 64), torch.empty(6, 2)
    emulate("emulation_sum_warps", x=x, y=y)
    torch.testing.assert_close(y, x.reshape(6, 32).sum(1)[:, None].expand(6, 2))


def reverse(mistake: str, seeds: int = 3) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(64), torch.full((64,), torch.nan)
    emulate("emulation_reverse", x=x, y=y, mistake=mistake, seeds=seeds)
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
