"""A degradation pipeline as people have it who copied the released one: plain PyTorch that insists on a GPU."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Kernels:
    def __init__(self, **settings):
        vars(self).update(settings)

    def __call__(self, batch, random):
        if self.blur_type == "iso_gaussian":
            sigma = self._draw(batch, self.sig_min, self.sig_max) if random else torch.ones(1).cuda() * self.sig
            inverse = torch.eye(2).cuda() / sigma[:, None, None] ** 2
        else:
            theta = torch.rand(batch).cuda() * math.pi if random else torch.ones(1).cuda() * self.theta / 180 * math.pi
            widths = [self.lambda_1, self.lambda_2]
            drawn = [
                self._draw(batch, self.lambda_min, self.lambda_max) if random else torch.ones(1) * w for w in widths
            ]
            turn = torch.stack([theta.cos(), -theta.sin(), theta.sin(), theta.cos()], 1).view(-1, 2, 2)
            inverse = (turn @ torch.diag_embed(torch.stack(drawn, 1).cuda() ** 2) @ turn.mT).inverse()
        axis = torch.arange(self.kernel_size).float().cuda() - self.kernel_size // 2
        places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(1, -1, 2).expand(len(inverse), -1, -1)
        kernel = torch.exp(-0.5 * ((places @ inverse) * places).sum(2))
        return (kernel / kernel.sum(1, keepdim=True)).view(-1, self.kernel_size, self.kernel_size)

    def _draw(self, batch, low, high):
        return torch.rand(batch).cuda() * (high - low) + low


class Blur(nn.Module):
    def __init__(self, kernel_size):
        super().__init__()
        self.border = nn.ReflectionPad2d((kernel_size // 2, (kernel_size - 1) // 2) * 2)

    def forward(self, images, kernel):
        batch, channels = images.shape[:2]
        padded = self.border(images).flatten(0, 1)[None]
        y = F.conv2d(padded, kernel[:, None].repeat_interleave(channels, 0), groups=batch * channels)
        return y.view(images.shape)


class Cubic(nn.Module):
    def forward(self, images, scale=1 / 4):
        y = images
        for dim in (2, 3):
            y = self._along(y, dim, scale)
        return y.mT.contiguous().mT

    def _along(self, images, dim, scale):
        width = min(scale, 1)
        centres = (torch.arange(int(images.shape[dim] * scale)).cuda() + 0.5) / scale - 0.5
        taps = math.ceil(4 / width) + 2
        places = (centres - 2 / width).floor()[:, None] + torch.arange(taps).cuda()
        distance = ((centres[:, None] - places) * width).abs()
        inner, outer = (
            1.5 * distance**3 - 2.5 * distance**2 + 1,
            -0.5 * distance**3 + 2.5 * distance**2 - 4 * distance + 2,
        )
        weights = inner * (distance <= 1) + outer * ((distance > 1) & (distance <= 2))
        weights = weights / weights.sum(1, keepdim=True)
        chosen = images.movedim(dim, -1)[..., places.long().clamp(0, images.shape[dim] - 1)]
        return (chosen * weights).sum(-1).movedim(-1, dim)


DEFAULTS = {"kernel_size": 21, "blur_type": "iso_gaussian", "sig": 2.6, "sig_min": 0.2, "sig_max": 4.0, "theta": 0}
DEFAULTS |= {"lambda_1": 0.2, "lambda_2": 4.0, "lambda_min": 0.2, "lambda_max": 4.0}


class Degrade:
    def __init__(self, scale, mode="bicubic", noise=0.0, **settings):
        self.scale, self.mode, self.noise = scale, mode, noise
        self.kernels = Kernels(**{**DEFAULTS, **settings})
        self.blur, self.resize = Blur(self.kernels.kernel_size), Cubic()

    @torch.no_grad()
    def __call__(self, hr_tensor, random=True):
        batch, patches, channels, height, width = hr_tensor.shape
        images, kernels = hr_tensor.view(-1, channels, height, width), None
        if self.kernels.blur_type != "iso_gaussian" or self.kernels.sig != 0:
            kernels = self.kernels(batch, random)
            images = self.blur(hr_tensor.view(batch, -1, height, width), kernels).view(images.shape)
        if self.mode == "bicubic":
            lr = self.resize(images, scale=1 / self.scale)
        else:
            lr = images[..., :: self.scale, :: self.scale]
        if self.noise > 0:
            level = torch.rand(batch, 1, 1, 1, 1).to(lr.device) * self.noise if random else self.noise
            lr = lr + (torch.randn_like(lr).view(batch, patches, *lr.shape[1:]) * level).view(lr.shape)
        return lr.round().clamp(0, 255).view(batch, patches, *lr.shape[1:]), kernels
