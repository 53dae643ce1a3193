import pytest
import torch
import torch.nn.functional as F
from golden import error
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast.inference.convolution import Convolution
from dasr_fast.ops import backends


@settings(deadline=None, max_examples=60)
@given(
    kernel_size=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2]),
    slope=st.sampled_from([None, 0.0, 0.1]),
    residual=st.booleans(),
    size=st.tuples(st.integers(1, 2), st.integers(1, 7), st.integers(1, 7)),
    dtype=st.sampled_from([torch.float64, torch.float32]),
    backend=st.sampled_from(["auto", "reference"]),
)
def test_convolution_activation_and_sum(kernel_size, stride, slope, residual, size, dtype, backend):
    b, h, w = size
    torch.manual_seed(0)
    x = torch.randn(b, 5, h, w, dtype=torch.float64)
    weight, bias = (torch.randn(shape, dtype=torch.float64) for shape in ((6, 5, kernel_size, kernel_size), (6,)))
    expected = F.conv2d(x, weight, bias, stride, kernel_size // 2)
    expected = expected if slope is None else F.leaky_relu(expected, slope)
    added = torch.randn_like(expected) if residual else None
    expected = expected if added is None else expected + added
    assert expected.shape == (b, 6, -(-h // stride), -(-w // stride))

    convolution = Convolution(weight, bias, stride=stride, negative_slope=slope, dtype=dtype, backend=backend)
    last = torch.channels_last
    result = convolution(
        x.to(dtype, memory_format=last), None if added is None else added.to(dtype, memory_format=last)
    )
    assert result.dtype == dtype
    assert error(result.double(), expected) < (1e-14 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pytorch_where_there_is_no_kernel(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch):
    for name in ("cuda", "triton", "cpp"):
        monkeypatch.setitem(backends.IMPLEMENTATIONS, ("conv3x3", name), "it is off for the test")
    weight, bias, x = torch.randn(6, 4, 3, 3), torch.randn(6), torch.randn(1, 4, 9, 9)
    seen = []
    monkeypatch.setattr(
        F, "conv2d", lambda *arguments, **named: seen.append(arguments[0].dtype) or torch.conv2d(*arguments, **named)
    )
    result = Convolution(weight, bias, dtype=dtype, backend="auto")(x.to(dtype))
    assert seen == [dtype]
    expected = torch.conv2d(x.to(dtype).double(), weight.to(dtype).double(), bias.to(dtype).double(), padding=1)
    assert error(result.double(), expected) < (1e-6 if dtype == torch.float32 else 2.0**-8)


def test_weights_lie_in_memory_as_kernels_on_a_cpu_read_them():
    weight = torch.randn(6, 4, 3, 3)
    convolution = Convolution(weight, torch.randn(6), dtype=torch.float32, backend="auto")
    assert torch.equal(convolution.weight, weight)
    assert convolution.weight.permute(2, 3, 1, 0).is_contiguous()
    weight.zero_()
    assert convolution.weight.abs().min() > 0
