import torch
from torch import nn

from dasr_fast.reference import da_half_block


def _inputs(middle: int = 4, out: int = 4) -> list[torch.Tensor]:
    shapes = ((2, 4, 5, 6), (2, 4, 3, 3), (middle, 4), (middle,), (2, 4), (out, middle, 3, 3), (out,), (2, out, 5, 6))
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def _composed(inputs: list[torch.Tensor], slope: float) -> torch.Tensor:
    """What comes before the last activation, by modules, sample by sample."""
    x, kernel, weight, bias, gate, conv_weight, conv_bias, _ = inputs
    relu = nn.LeakyReLU(slope)
    results = []
    for sample in range(len(x)):
        depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False).double()
        pointwise = nn.Conv2d(4, len(weight), 1).double()
        conv = nn.Conv2d(len(weight), len(conv_weight), 3, padding=1).double()
        depthwise.load_state_dict({"weight": kernel[sample, :, None]})
        pointwise.load_state_dict({"weight": weight[:, :, None, None], "bias": bias})
        conv.load_state_dict({"weight": conv_weight, "bias": conv_bias})
        branch = pointwise(relu(depthwise(x[sample, None])))
        modulated = 0 if gate is None else x[sample, None] * gate[sample, :, None, None]
        results.append(conv(relu(branch + modulated)))
    return torch.cat(results).detach()


def test_is_da_conv_activation_and_convolution():
    inputs = _inputs()
    expected = _composed(inputs, 0.1)
    torch.testing.assert_close(da_half_block(*inputs[:-1], None, 0.1, False), expected)
    activated = torch.where(expected > 0, expected, 0.1 * expected)
    torch.testing.assert_close(da_half_block(*inputs[:-1], None, 0.1, True), activated)
    torch.testing.assert_close(da_half_block(*inputs, 0.1, True), activated + inputs[-1])


def test_without_gate_the_channels_may_change():
    inputs = _inputs(middle=7, out=3)
    inputs[4] = None
    torch.testing.assert_close(da_half_block(*inputs, 0.2, False), _composed(inputs, 0.2) + inputs[-1])
