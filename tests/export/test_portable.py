from typing import Any

import torch
from golden import fill
from hypothesis import given, settings
from hypothesis import strategies as st

from dasr_fast.export.portable import PortableBlindSR, PortableDAConv
from dasr_fast.models import BlindSR
from dasr_fast.nn import DAConv

OPTIONS = (
    {},
    {"kernel_size": 1},
    {"kernel_size": 5, "representation": 9},
    {"kernel_size": 7, "gate": "series"},
    {"depthwise": "static"},
    {"gate": "none", "out_channels": 3},
    {"pointwise": False, "activation": "relu"},
    {"activation": "prelu", "spatial_gate": True},
    {"activation": "none", "kernel_activation": "prelu"},
)


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(OPTIONS),
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_da_conv_with_any_options(options: dict[str, Any], sizes: tuple[int, int, int], activate: bool, seed: int):
    torch.manual_seed(seed)
    batch, height, width = sizes
    layer = DAConv(5, **{"representation": 5, **options}).double().requires_grad_(False)
    x = torch.randn(batch, 5, height, width, dtype=torch.float64)
    v = torch.randn(batch, layer.representation, dtype=torch.float64)
    expected = layer(x, v, activate=activate)
    layer.__class__ = PortableDAConv
    torch.testing.assert_close(layer(x, v, activate=activate), expected, rtol=1e-12, atol=1e-12)


def test_the_model_is_left_as_it_is():
    model = fill(BlindSR(2, channels=8, groups=1, blocks=1)).train()
    before = {name: (id(value), value.clone()) for name, value in model.state_dict(keep_vars=True).items()}
    layers = {name: type(layer) for name, layer in model.named_modules()}
    network = PortableBlindSR(model)
    network(torch.rand(1, 3, 6, 7) * 255)
    after = model.state_dict(keep_vars=True)
    assert all(id(after[name]) == key and torch.equal(after[name], value) for name, (key, value) in before.items())
    assert {name: type(layer) for name, layer in model.named_modules()} == layers
    assert all(layer.training for layer in model.modules())
    assert not any(layer.training for layer in network.modules())


def test_any_type_and_mode_gives_float32_in_evaluation_mode():
    model = fill(BlindSR(2, channels=8, groups=1, blocks=1)).double().train()
    lr = torch.rand(2, 3, 6, 7) * 255
    sr = PortableBlindSR(model)(lr)
    assert sr.dtype == torch.float32
    torch.testing.assert_close(sr.double(), model.eval()(lr.double()), rtol=0, atol=1e-3)
