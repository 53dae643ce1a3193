"""The released network written anew: plain PyTorch with its operations, its parameter names, and pairs as arguments.

It is the baseline where there is no checkout of the released code, and what tests try `accelerate` on.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasr_fast.models.mean_shift import DIV2K_MEAN
from tests.released.ops import dynamic_depthwise_conv

Pair = Sequence[Tensor]
"""Features `[B, C, H, W]` and the representation `[B, C]`."""


def conv3(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 3x3 convolution that keeps height and width."""
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)


class Modulate(nn.Module):
    """Channel modulation, as `CA_layer`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, channels // 8, 1, bias=False),
            nn.LeakyReLU(0.1, True),
            nn.Conv2d(channels // 8, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, pair: Pair) -> Tensor:
        features, degradation = pair
        return features * self.conv_du(degradation.unsqueeze(-1).unsqueeze(-1))


class Adaptive(nn.Module):
    """DA convolution, as `DA_conv`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(
            nn.Linear(channels, channels, bias=False),
            nn.LeakyReLU(0.1, True),
            nn.Linear(channels, channels * 9, bias=False),
        )
        self.conv = nn.Conv2d(channels, channels, 1)
        self.ca = Modulate(channels)
        self.relu = nn.LeakyReLU(0.1, True)

    def forward(self, pair: Pair) -> Tensor:
        features, degradation = pair
        kernel = self.kernel(degradation).view(len(features), -1, 3, 3)
        return self.conv(self.relu(dynamic_depthwise_conv(features, kernel))) + self.ca(pair)


class Block(nn.Module):
    """DA block, as `DAB`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.da_conv1 = Adaptive(channels)
        self.da_conv2 = Adaptive(channels)
        self.conv1 = conv3(channels, channels)
        self.conv2 = conv3(channels, channels)
        self.relu = nn.LeakyReLU(0.1, True)

    def forward(self, pair: Pair) -> Tensor:
        features, degradation = pair
        y = self.relu(self.conv1(self.relu(self.da_conv1(pair))))
        return features + self.conv2(self.relu(self.da_conv2([y, degradation])))


class Group(nn.Module):
    """Residual group, as `DAG`."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*(Block(channels) for _ in range(blocks)), conv3(channels, channels))

    def forward(self, pair: Pair) -> Tensor:
        features, degradation = pair
        y = features
        for block in list(self.body)[:-1]:
            y = block([y, degradation])
        return features + self.body[-1](y)


class Mean(nn.Conv2d):
    """Adds `sign` times the mean colour, as `MeanShift`."""

    def __init__(self, sign: int) -> None:
        super().__init__(3, 3, 1)
        assert self.bias is not None
        self.weight.data.copy_(torch.eye(3).view(3, 3, 1, 1))
        self.bias.data.copy_(sign * 255 * torch.tensor(DIV2K_MEAN))
        self.requires_grad_(False)


class Restorer(nn.Module):
    """SR network, as `DASR`."""

    def __init__(self, scale: int, groups: int = 5, blocks: int = 5, channels: int = 64) -> None:
        super().__init__()
        self.sub_mean, self.add_mean = Mean(-1), Mean(1)
        self.head = nn.Sequential(conv3(3, channels))
        self.compress = nn.Sequential(nn.Linear(256, channels, bias=False), nn.LeakyReLU(0.1, True))
        self.body = nn.Sequential(*(Group(channels, blocks) for _ in range(groups)), conv3(channels, channels))
        upsampler: list[nn.Module] = []
        for factor in [2, 2] if scale == 4 else [scale]:
            upsampler += [conv3(channels, channels * factor**2), nn.PixelShuffle(factor)]
        self.tail = nn.Sequential(nn.Sequential(*upsampler), conv3(channels, 3))

    def forward(self, image: Tensor, embedding: Tensor) -> Tensor:
        degradation = self.compress(embedding)
        features = self.head(self.sub_mean(image))
        y = features
        for group in list(self.body)[:-1]:
            y = group([y, degradation])
        return self.add_mean(self.tail(features + self.body[-1](y)))


class Embedder(nn.Module):
    """Degradation encoder, as `Encoder`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out, stride in ((3, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1)):
            conv = nn.Conv2d(c_in, c_out, 3, stride, 1)
            layers += [conv, nn.BatchNorm2d(c_out), nn.LeakyReLU(0.1, True)]
        self.E = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1))
        self.mlp = nn.Sequential(nn.Linear(256, 256), nn.LeakyReLU(0.1, True), nn.Linear(256, 256))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.E(image).flatten(1)
        return embedding, self.mlp(embedding)


class Contrast(nn.Module):
    """Momentum contrast that updates its key encoder through `.data` and asks for the queue's pointer as a number."""

    queue: Tensor
    queue_ptr: Tensor

    def __init__(self, queue_size: int = 8192) -> None:
        super().__init__()
        self.m, self.T = 0.999, 0.07
        self.encoder_q, self.encoder_k = Embedder(), Embedder()
        self.encoder_k.load_state_dict(self.encoder_q.state_dict())
        self.encoder_k.requires_grad_(False)
        self.register_buffer("queue", F.normalize(torch.randn(256, queue_size), dim=0))
        self.register_buffer("queue_ptr", torch.zeros(1, dtype=torch.long))

    def forward(self, query_image: Tensor, key_image: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        embedding, query = self.encoder_q(query_image)
        if not self.training:
            return embedding
        query = F.normalize(query, dim=1)
        with torch.no_grad():
            for key_weight, weight in zip(self.encoder_k.parameters(), self.encoder_q.parameters(), strict=True):
                key_weight.data = self.m * key_weight.data + (1 - self.m) * weight.data
            key = F.normalize(self.encoder_k(key_image)[1], dim=1)
        positive = torch.einsum("bc,bc->b", query, key)[:, None]
        negative = torch.einsum("bc,ck->bk", query, self.queue.clone())
        logits = torch.cat([positive, negative], 1) / self.T
        start = int(self.queue_ptr)
        self.queue[:, start : start + len(key)] = key.T
        self.queue_ptr[0] = (start + len(key)) % self.queue.shape[1]
        return embedding, logits, torch.zeros(len(logits), dtype=torch.long).to(logits.device)


class Blind(nn.Module):
    """Encoder and SR network, as `BlindSR`."""

    def __init__(self, scale: int = 4, groups: int = 5, blocks: int = 5) -> None:
        super().__init__()
        self.G = Restorer(scale, groups, blocks)
        self.E = Contrast()

    def forward(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        if not self.training:
            return self.G(images, self.E(images, images))
        embedding, logits, labels = self.E(images[:, 0], images[:, 1])
        return self.G(images[:, 0], embedding), logits, labels
