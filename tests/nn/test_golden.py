import pytest
from golden import arrays, error, fill
from torch import nn as torch_nn

from dasr_fast import nn

LAYERS = {
    "da_conv": lambda: nn.DAConv(64),
    "da_conv_k5": lambda: nn.DAConv(64, kernel_size=5, reduction=4),
    "ca_layer": lambda: nn.ChannelModulation(64),
    "dab": lambda: nn.DABlock(64),
    "dag": lambda: nn.DAGroup(64, blocks=2),
}


@pytest.mark.parametrize("released_call", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_released_layer(name: str, released_call: bool):
    golden = {key.removeprefix(f"{name}/"): x for key, x in arrays("layers").items() if key.startswith(f"{name}/")}
    layer: torch_nn.Module = fill(LAYERS[name]())
    x, v = golden["x"].requires_grad_(), golden["v"].requires_grad_()
    y = layer([x, v]) if released_call else layer(x, v)
    y.backward(golden["gy"])
    assert error(y, golden["y"]) < 1e-5
    assert error(x.grad, golden["grad_x"]) < 1e-4
    assert error(v.grad, golden["grad_v"]) < 1e-4
    parameters = dict(layer.named_parameters())
    compared = [key for key in golden if key.startswith("grad:")]
    assert len(compared) >= 2
    for key in compared:
        assert error(parameters[key.removeprefix("grad:")].grad, golden[key]) < 1e-4, key
