"""Models related to DASR: the same layer with small differences, other names and other trunks.

`x` are features, `v` is the representation. Every class says how it differs from the released one; `call` calls them.
"""

import copy
import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import dasr_fast
from tests.released.network import Adaptive, Block, Modulate, conv3
from tests.released.ops import dynamic_depthwise_conv as depthwise


def call(model: nn.Module, x: Tensor, v: Tensor) -> Tensor:
    """The model's result for features `[B, C, H, W]` and the representation `[B, R]`, called as its forward wants."""
    if isinstance(model, Rectified):
        v = v[:, :, None, None]
    return model(x, v) if isinstance(model, TWO_ARGUMENTS) else model([x, v])


def size_of(model: nn.Module) -> tuple[int, int]:
    """Channels of the features, and numbers of the representation."""
    return getattr(model, "size", (16, 16))


def accelerated(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The model, accelerated, and a copy from before."""
    original = copy.deepcopy(model)
    return dasr_fast.accelerate(model), original


def mlp(*widths: int, bias: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width_in, width_out in itertools.pairwise(widths):
        layers += [nn.Linear(width_in, width_out, bias=bias), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers[:-1])


class Small(Adaptive):
    def __init__(self) -> None:
        super().__init__(16)

    def branch(self, x, kernel):
        return self.conv(self.relu(depthwise(x, kernel.view(len(x), -1, 3, 3))))


class WideRepresentation(nn.Module):
    """A representation of 256 for 64 channels, two arguments, other names, biases."""

    size = 64, 256

    def __init__(self) -> None:
        super().__init__()
        self.filter_net = mlp(256, 128, 64 * 9, bias=True)
        self.gate_net = nn.Sequential(nn.Linear(256, 16), nn.ReLU(), nn.Linear(16, 64), nn.Sigmoid())
        self.mix = nn.Conv2d(64, 64, 1)
        self.act = nn.LeakyReLU(0.1)

    def forward(self, x, v):
        y = self.mix(self.act(depthwise(x, self.filter_net(v).view(len(x), -1, 3, 3))))
        return y + x * self.gate_net(v)[:, :, None, None]


class ManyChannels(nn.Module):
    """180 channels, depthwise kernels of 5, LeakyReLU as a function and of 0.2."""

    size = 180, 64

    def __init__(self) -> None:
        super().__init__()
        self.kernel_size = 5
        self.kernel = mlp(64, 64, 180 * 25)
        self.conv = nn.Conv2d(180, 180, 1, bias=False)
        self.gate = nn.Sequential(nn.Conv2d(64, 8, 1), nn.ReLU(), nn.Conv2d(8, 180, 1))

    def forward(self, pair):
        x, v = pair
        y = self.conv(F.leaky_relu(depthwise(x, self.kernel(v).view(len(x), -1, 5, 5)), 0.2))
        return y + x * torch.sigmoid(self.gate(v[:, :, None, None]))


class Rectified(Small):
    """ReLU, in every place, and a representation `[B, R, 1, 1]` for nets of 1x1 convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 16 * 9, 1))
        self.relu = nn.ReLU()

    def forward(self, pair):
        x, v = pair
        return self.branch(x, self.kernel(v)) + x * self.ca.conv_du(v)


class Learned(Small):
    """PReLU after the depthwise convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.PReLU()


class Series(Small):
    """The gate multiplies the result."""

    def forward(self, pair):
        x, v = pair
        return self.ca([self.branch(x, self.kernel(v)), v])


class MaximumAndMean(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x):
        return torch.sigmoid(self.conv(torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)))


class WithSpatialGate(Small):
    """A spatial gate by a module is added as a third branch."""

    def __init__(self) -> None:
        super().__init__()
        self.sa = MaximumAndMean()

    def forward(self, pair):
        return super().forward(pair) + pair[0] * self.sa(pair[0])


class WithSpatialConvolution(Small):
    """A spatial gate in the layer's own forward is added as a third branch."""

    def __init__(self) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(2, 1, 3, padding=1)

    def forward(self, pair):
        x = pair[0]
        pooled = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)
        return super().forward(pair) + x * torch.sigmoid(self.spatial(pooled))


class SpareLayer(Small):
    """A child that the forward doesn't use."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(16)


class SingleBlock(nn.Module):
    """One DA convolution and one convolution in a block."""

    def __init__(self) -> None:
        super().__init__()
        self.adaptive, self.conv = Adaptive(16), conv3(16, 16)

    def forward(self, x, v):
        return self.conv(F.leaky_relu(self.adaptive([x, v]), 0.1)) + x


class Depthwise(nn.Module):
    """The depthwise convolution alone, as in KDSR."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = mlp(size_of(self)[1], size_of(self)[1], 16 * 9)

    def forward(self, pair):
        x, v = pair
        return depthwise(x, self.kernel(v).view(len(x), -1, 3, 3))


class WithoutPointwise(Depthwise):
    """No 1x1 convolution and no activation."""

    size = 16, 32

    def __init__(self) -> None:
        super().__init__()
        self.modulation = nn.Sequential(nn.Conv2d(32, 4, 1), nn.ReLU(), nn.Conv2d(4, 16, 1), nn.Sigmoid())

    def forward(self, pair):
        x, v = pair
        return super().forward(pair) + x * self.modulation(v[:, :, None, None])


class WithoutGate(Depthwise):
    """No gate, more channels after the 1x1 convolution, GELU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act = nn.Conv2d(16, 24, 1), nn.GELU()

    def forward(self, x, v):
        return self.conv(self.act(super().forward([x, v])))


class DepthwiseBlock(nn.Module):
    """A block of KDSR: an activation in place, one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.adapt, self.conv, self.relu = Depthwise(), conv3(16, 16), nn.LeakyReLU(0.1, True)

    def forward(self, pair):
        return self.conv(self.relu(self.adapt(pair))) + pair[0]


class PixelGate(Depthwise):
    """A gate for each pixel times the depthwise branch, and the features, as in MRDA."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.sig = nn.Conv2d(16, 1, 1), nn.LeakyReLU(0.1, True), nn.Sigmoid()

    def forward(self, pair):
        return self.relu(super().forward(pair)) * self.sig(self.conv(pair[0])) + pair[0]


class PixelGateBlock(Block):
    """A block of MRDA."""

    def __init__(self) -> None:
        super().__init__(16)
        self.da_conv1, self.da_conv2 = PixelGate(), PixelGate()


class SkipConnection(Small):
    """The features are added once more."""

    def forward(self, pair):
        return super().forward(pair) + pair[0]


class SeriesWithSkip(Series):
    """The gate multiplies the result, to which the features are added."""

    def forward(self, pair):
        return super().forward(pair) + pair[0]


class BlocksAlone(nn.Module):
    """A group without a last convolution and a skip connection, as in KDSR and MRDA."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(DepthwiseBlock(), DepthwiseBlock())

    def forward(self, pair):
        y = pair[0]
        for block in self.body:
            y = block([y, pair[1]])
        return y


RELATED = (
    WideRepresentation,
    ManyChannels,
    Rectified,
    Learned,
    Series,
    WithoutPointwise,
    WithoutGate,
    WithSpatialGate,
    WithSpatialConvolution,
    SpareLayer,
    SingleBlock,
    Depthwise,
    DepthwiseBlock,
    PixelGate,
    PixelGateBlock,
    SkipConnection,
    SeriesWithSkip,
    BlocksAlone,
)


class NormalizedKernel(Small):
    """Kernels that sum to one."""

    def forward(self, pair):
        x, v = pair
        return self.branch(x, torch.softmax(self.kernel(v).view(len(x), -1, 9), -1)) + self.ca(pair)


class DetachedRepresentation(Small):
    """The same results, but no gradient for the representation through the kernels."""

    def forward(self, pair):
        x, v = pair
        return self.branch(x, self.kernel(v.detach())) + self.ca(pair)


class RandomInTraining(Small):
    """Dropout in training mode."""

    def forward(self, pair):
        return F.dropout(super().forward(pair), 0.5, self.training)


class ThreeArguments(Small):
    """Something else besides features and the representation."""

    def forward(self, triple):
        return super().forward(triple[:2]) + triple[2]


TWO_ARGUMENTS = (WideRepresentation, WithoutGate, SingleBlock)

UNCOVERED = (NormalizedKernel, DetachedRepresentation, RandomInTraining)
"""What no option of `nn.DAConv` computes."""


class UNet(nn.Module):
    """DA convolutions in a trunk of another kind: down, up and a skip connection, in blocks with channel attention."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = conv3(3, 16), conv3(32, 3)
        self.outer, self.inner = AttentiveBlock(), AttentiveBlock()
        self.down = nn.Conv2d(16, 16, 2, stride=2)
        self.up = nn.ConvTranspose2d(16, 16, 2, stride=2)

    def forward(self, image, v):
        outer = self.outer(self.enter(image), v)
        inner = self.up(self.inner(self.down(outer), v))
        return self.leave(torch.cat([outer, inner], 1))


class AttentiveBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.adapt = Series()
        self.conv = conv3(16, 16)
        self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(16, 16, 1), nn.Sigmoid())
        self.modulate = Modulate(16)

    def forward(self, x, v):
        y = self.conv(F.gelu(self.adapt([x, v])))
        return x + self.modulate([y * self.attention(y), v])
