"""The variants of related models, against the same mathematics written with grouped convolutions."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Module

from dasr_fast import nn

ACTIVATIONS = {"leaky_relu": lambda x: F.leaky_relu(x, 0.1), "relu": F.relu, "none": lambda x: x}
VARIANTS: list[dict[str, Any]] = [
    {},
    {"representation": 256, "reduction": 16},
    {"channels": 180},
    {"channels": 128, "representation": 32, "hidden": 48},
    {"kernel_size": 7},
    {"activation": "relu"},
    {"activation": "prelu", "kernel_activation": "prelu"},
    {"activation": "none", "pointwise": False, "gate": "none"},
    {"pointwise": False},
    {"gate": "series"},
    {"gate": "none"},
    {"depthwise": "static"},
    {"depthwise": "static", "kernel_size": 5, "gate": "none"},
    {"gate": "none", "out_channels": 24},
    {"gate": "series", "out_channels": 24},
    {"spatial_gate": True},
    {"spatial_gate": True, "gate": "none", "activation": "relu"},
]


def activated(x: Tensor, name: str, module: Module) -> Tensor:
    return F.prelu(x, module.weight) if name == "prelu" else ACTIVATIONS[name](x)


def naive(layer: nn.DAConv, x: Tensor, v: Tensor, options: dict[str, Any]) -> Tensor:
    b, c, h, w = x.shape
    k = options.get("kernel_size", 3)
    if options.get("depthwise") == "static":
        y = F.conv2d(x, layer.kernel.weight, padding=k // 2, groups=c)
    else:
        name = options.get("kernel_activation", "leaky_relu")
        hidden = activated(v @ layer.kernel[0].weight.T, name, layer.kernel[1])
        kernel = (hidden @ layer.kernel[2].weight.T).reshape(b * c, 1, k, k)
        y = F.conv2d(x.reshape(1, b * c, h, w), kernel, padding=k // 2, groups=b * c).reshape(b, c, h, w)
    y = activated(y, options.get("activation", "leaky_relu"), layer.relu)
    if options.get("pointwise", True):
        y = F.conv2d(y, layer.conv.weight, layer.conv.bias)
    if options.get("gate") != "none":
        first, _, last, _ = layer.ca.conv_du
        gate = F.leaky_relu(F.conv2d(v[:, :, None, None], first.weight), 0.1)
        gate = torch.sigmoid(F.conv2d(gate, last.weight))
        y = y * gate if options.get("gate") == "series" else y + x * gate
    if options.get("spatial_gate"):
        pooled = torch.cat((x.max(1, keepdim=True).values, x.mean(1, keepdim=True)), 1)
        y = y + x * torch.sigmoid(F.conv2d(pooled, layer.sa.conv.weight, layer.sa.conv.bias, padding=k // 2))
    return y


@pytest.mark.parametrize("activate", [False, True])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_variant(options: dict[str, Any], activate: bool):
    options = {"channels": 16, "representation": 16, "reduction": 4, **options}
    layer = nn.DAConv(**options).double()
    x = torch.randn(2, options["channels"], 6, 5, dtype=torch.float64, requires_grad=True)
    v = torch.randn(2, options["representation"], dtype=torch.float64, requires_grad=True)
    expected = naive(layer, x, v, options)
    if activate:
        expected = activated(expected, options.get("activation", "leaky_relu"), layer.relu)
    y = layer(x, v, activate=activate)
    torch.testing.assert_close(y, expected)
    used = options.get("depthwise") != "static" or options.get("gate") != "none"
    tensors = [x, *((v,) if used else ()), *layer.parameters()]
    grad = torch.randn_like(y)
    for result, target in zip(
        torch.autograd.grad(y, tensors, grad), torch.autograd.grad(expected, tensors, grad), strict=True
    ):
        torch.testing.assert_close(result, target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 4}, "kernel_size must be 1, 3, 5 or 7; got 4"),
        ({"depthwise": "fixed"}, "depthwise must be dynamic or static; got 'fixed'"),
        ({"gate": "both"}, "gate must be parallel, series or none"),
        ({"activation": "gelu"}, "activation must be leaky_relu, relu, prelu or none; got 'gelu'"),
        ({"negative_slope": 2.0}, "negative_slope must be from 0 to 1; got 2.0"),
        ({"backend": "fast"}, "backend must be one of auto, cuda, triton, cpp, reference; got 'fast'"),
        ({"reduction": 0}, "reduction must be at least 1; got 0"),
        ({"out_channels": 8}, "8 out_channels for 16 channels"),
    ],
)
def test_contradictions(options: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        nn.DAConv(16, **options)


@pytest.mark.parametrize("make", [nn.DAConv, nn.ChannelModulation, nn.DABlock, nn.DAGroup])
def test_wrong_inputs(make: Any):
    layer = make(16, 8)
    x, v = torch.randn(2, 16, 5, 5), torch.randn(2, 8)
    with pytest.raises(ValueError, match=r"x must be \[B, 16, H, W\]; got \[2, 15, 5, 5\]"):
        layer(x[:, :15], v)
    with pytest.raises(ValueError, match=r"v must be \[B, 8\] with B = 2 as x has it; got \[1, 8\]"):
        layer(x, v[:1])
    with pytest.raises(ValueError, match="representation v is missing"):
        layer(x)
    with pytest.raises(ValueError, match=r"call it with \(x, v\) or"):
        layer([x])
    with pytest.raises(TypeError, match="x and v must be tensors; got Tensor and list"):
        layer(x, [1.0])


@pytest.mark.parametrize(
    ("options", "activation"),
    [
        ({"activation": "none", "block_activation": "relu"}, "relu"),
        ({"activation": "relu", "block_activation": "relu"}, "relu"),
        ({"activation": "none", "pointwise": False, "gate": "none"}, "leaky_relu"),
    ],
)
def test_the_block_has_an_activation_of_its_own(options: dict[str, Any], activation: str):
    block, activate = nn.DABlock(8, 8, **options), ACTIVATIONS[activation]
    x, v = torch.randn(1, 8, 5, 5), torch.randn(1, 8)
    y = activate(block.conv1(activate(block.da_conv1(x, v))))
    torch.testing.assert_close(block(x, v), block.conv2(activate(block.da_conv2(y, v))) + x)
