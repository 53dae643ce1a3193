import copy
from functools import cache
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from golden import error, fill
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dasr_fast.inference.block import FoldedBlock
from dasr_fast.inference.convolution import Convolution
from dasr_fast.inference.folded import FoldedNetwork
from dasr_fast.models import BlindSR
from dasr_fast.nn import DABlock
from dasr_fast.ops import backends

SMALL = {"channels": 8, "groups": 1, "blocks": 1}


def small_model(scale: int = 4, **options: Any) -> BlindSR:
    """A small network in float64, no weight of which is 0 or 1."""
    model = BlindSR(scale, **{**SMALL, **options}).double().eval()
    fill(model.G)
    fill(model.E.encoder_q)
    for shift in (model.G.sub_mean, model.G.add_mean):
        nn.init.normal_(shift.weight)
    return model


def images(batch: int, height: int, width: int) -> torch.Tensor:
    return 255 * torch.rand(batch, 3, height, width, dtype=torch.float64)


@cache
def model_and_network(scale: int, backend: str, gain: float) -> tuple[BlindSR, FoldedNetwork]:
    model = small_model(scale)
    return model, FoldedNetwork(model, torch.float64, backend=backend, gain=gain)


@settings(deadline=None, max_examples=40)
@given(
    scale=st.sampled_from([2, 3, 4]),
    size=st.tuples(st.integers(0, 3), st.integers(1, 11), st.integers(1, 11)),
    backend=st.sampled_from(["auto", "reference"]),
    gain=st.sampled_from([1.0, 2.0**-6]),
)
def test_every_size(scale: int, size: tuple[int, int, int], backend: str, gain: float):
    torch.manual_seed(0)
    model, network, lr = *model_and_network(scale, backend, gain), images(*size)
    assert (network.scale, network.dtype, network.device) == (scale, torch.float64, torch.device("cpu"))
    features = network.encode_features(lr)
    assert features.shape == (size[0], 256, (size[1] + 3) // 4, (size[2] + 3) // 4)
    with torch.no_grad():
        v = model.encode(lr)
        expected = model.restore(lr, v)
    torch.testing.assert_close(features.mean((2, 3)), v, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(network.encode(lr), v, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(network.restore(lr, v), expected, rtol=1e-11, atol=1e-9)


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 1, 7), (1, 3, 5), (3, 12, 10)])
@pytest.mark.parametrize(
    ("dtype", "gain", "tolerance"),
    [(torch.float32, 1.0, 1e-5), (torch.float16, 2.0**-6, 4e-3), (torch.bfloat16, 1.0, 3e-2)],
)
def test_types(size: tuple[int, int, int], dtype: torch.dtype, gain: float, tolerance: float):
    model, lr = small_model(), images(*size)
    network = FoldedNetwork(model, dtype, gain=gain)
    with torch.no_grad():
        v = model.encode(lr)
        expected = model.restore(lr, v)
    own = network.encode(lr.float())
    sr = network.restore(lr.float(), own)
    assert own.dtype == sr.dtype == torch.float32
    assert sr.is_contiguous()
    assert error(own.double(), v) < tolerance
    assert error(sr.double(), expected) < tolerance


COVERED: list[dict[str, Any]] = [
    {},
    {"gate": "none"},
    {"depthwise": "static"},
    {"kernel_size": 5, "hidden": 7},
    {"kernel_activation": "prelu"},
    {"kernel_activation": "none", "reduction": 2},
    {"kernel_activation": "relu"},
    {"block_slope": 0.3, "negative_slope": 0.3},
    {"block_activation": "relu", "activation": "relu"},
    {"block_activation": "none", "activation": "none"},
    {},
]
OTHERS: list[dict[str, Any]] = [
    {"gate": "series"},
    {"pointwise": False},
    {"spatial_gate": True},
    {"block_slope": 0.2},
    {"activation": "prelu"},
    {"block_activation": "prelu"},
    {"block_activation": "relu"},
]


class Doubled(DABlock):
    def forward(self, x: Any, v: Any = None) -> torch.Tensor:
        return 2 * super().forward(x, v)


@pytest.mark.parametrize("gain", [1.0, 0.125])
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_blocks_of_all_kinds_in_one_network(backend: str, gain: float):
    blocks = [*(DABlock(8, 64, **options).double() for options in (*COVERED, *OTHERS)), Doubled(8, 64).double()]
    assert [FoldedBlock.covers(block) for block in blocks] == [True] * len(COVERED) + [False] * (len(OTHERS) + 1)
    model, lr = small_model(2, blocks=len(blocks)), images(2, 6, 9)
    for index, block in enumerate(blocks):
        model.G.body[0].body[index] = block
    network = FoldedNetwork(model, torch.float64, backend=backend, gain=gain)
    with torch.no_grad():
        assert error(network.restore(lr, network.encode(lr)), model(lr)) < 1e-12


@pytest.mark.parametrize("options", [{"kernel_size": 1}, {"kernel_size": 5}, {"representation": 24, "channels": 12}])
def test_options(options: dict[str, Any]):
    model, lr = small_model(2, **options), images(2, 6, 9)
    network = FoldedNetwork(model, torch.float64, gain=0.25)
    with torch.no_grad():
        assert error(network.restore(lr, network.encode(lr)), model(lr)) < 1e-12


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_pytorch_where_there_is_no_kernel(dtype: torch.dtype, tolerance: float, monkeypatch: pytest.MonkeyPatch):
    for op, name in product(("da_half_block", "conv3x3"), ("cuda", "triton", "cpp")):
        monkeypatch.setitem(backends.IMPLEMENTATIONS, (op, name), "it is off for the test")
    reference = backends.IMPLEMENTATIONS["da_half_block", "reference"]
    monkeypatch.setattr(reference, "da_half_block", lambda *_: pytest.fail("it isn't the fastest"))
    seen = set()
    monkeypatch.setattr(F, "conv2d", lambda x, *given, **named: seen.add(x.dtype) or torch.conv2d(x, *given, **named))
    model, lr = small_model(2), images(2, 6, 9)
    network = FoldedNetwork(model, dtype)
    result = network.restore(lr, network.encode(lr))
    assert dtype in seen
    with torch.no_grad():
        assert error(result.double(), model(lr)) < tolerance


def test_weights_lie_in_memory_as_kernels_on_a_cpu_read_them():
    weight = torch.randn(6, 4, 3, 3)
    convolution = Convolution(weight, torch.randn(6), dtype=torch.float32, backend="auto")
    assert torch.equal(convolution.weight, weight)
    assert convolution.weight.permute(2, 3, 1, 0).is_contiguous()


def test_gain_keeps_float16_from_overflowing():
    model, lr = small_model(2), images(1, 8, 8)
    with torch.no_grad():
        model.G.head[0].weight.mul_(1000)
        model.G.tail[1].weight.div_(1000)
        v = model.encode(lr)
        expected = model.restore(lr, v)
    assert not torch.isfinite(FoldedNetwork(model, torch.float16).restore(lr, v)).all()
    sr = FoldedNetwork(model, torch.float16, gain=2.0**-8).restore(lr, v)
    assert error(sr.double(), expected) < 4e-3


def test_it_computes_in_evaluation_mode_and_leaves_the_model():
    model, lr = small_model(2), images(2, 5, 6)
    with torch.no_grad():
        expected = model(lr)
    state = copy.deepcopy(model.state_dict())
    network = FoldedNetwork(model.train(), torch.float64)
    assert error(network.restore(lr, network.encode(lr)), expected) < 1e-12
    assert model.training
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_models_of_other_types():
    lr = images(1, 6, 7)
    model = small_model(2).half()
    oracle = copy.deepcopy(model).double()
    with torch.no_grad():
        expected = oracle(lr)
    network = FoldedNetwork(model)
    assert error(network.restore(lr, network.encode(lr)).double(), expected) < 1e-5


def test_autocast_does_not_reach_it():
    network, lr = FoldedNetwork(small_model(2)), images(1, 6, 7).float()
    expected = network.restore(lr, network.encode(lr))
    with torch.autocast("cpu", torch.bfloat16):
        result = network.restore(lr, network.encode(lr))
    assert torch.equal(result, expected)
