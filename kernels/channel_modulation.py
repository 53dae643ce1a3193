"""Channel modulation in Triton: a factor per sample and channel, and a residual, in one pass."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dasr_fast.kernels.launch import launch
from dasr_fast.kernels.options import Options, channels_last, choose, problem
from dasr_fast.kernels.requirements import obstacle
from dasr_fast.reference.layout import memory_format


def unsupported(x: Tensor, gate: Tensor, residual: Tensor | None) -> str | None:
    return "it computes in float32, and x is float64" if x.dtype == torch.float64 else obstacle(x.device)


def channel_modulation(x: Tensor, gate: Tensor, residual: Tensor | None) -> Tensor:
    """As `dasr_fast.reference.channel_modulation`."""
    y = torch.empty_like(x, memory_format=memory_format(x))
    x, z, r = _rows(x, y, x if residual is None else residual)
    options = choose(problem("modulation", x, *x.shape), default_options(x), x.device)
    launch(
        _forward,
        _programs(x, options),
        *(x, gate, r, z, *x.shape[1:], *x.stride(), *gate.stride(), *r.stride(), *z.stride()),
        RESIDUAL=residual is not None,
        **options,
    )
    return y


def channel_modulation_backward(grad: Tensor, x: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
    """As `dasr_fast.reference.channel_modulation.channel_modulation_backward`."""
    grad_x = torch.empty_like(x, memory_format=memory_format(x))
    x, z, grad = _rows(x, grad_x, grad)
    options = choose(problem("modulation_backward", x, *x.shape), default_options(x), x.device)
    b, c, h, w = x.shape
    tiles = h * triton.cdiv(w, options["BLOCK_W"])
    partial = torch.empty(b, tiles, c, dtype=torch.float32, device=x.device)
    launch(
        _backward,
        _programs(x, options),
        *(grad, x, gate, z, partial, c, h, w, *grad.stride(), *x.stride(), *gate.stride(), *z.stride()),
        **options,
    )
    return grad_x, partial.sum(1).to(gate.dtype)


def default_options(x: Tensor) -> Options:
    """Tile of a program: about 2048 elements, along whatever is adjacent in memory."""
    c, w = x.shape[1], x.shape[3]
    block_c = min(64, triton.next_power_of_2(c)) if channels_last(x) else 1
    return {"BLOCK_C": block_c, "BLOCK_W": min(2048 // block_c, triton.next_power_of_2(max(1, w))), "num_warps": 4}


def _rows(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The same with each plane as one long row, where the strides of all allow it."""
    if all(t.stride(2) == t.shape[3] * t.stride(3) for t in tensors):
        return tuple(t.as_strided((*t.shape[:2], 1, t.shape[2] * t.shape[3]), t.stride()) for t in tensors)
    return tensors


def _programs(x: Tensor, options: Options) -> int:
    b, c, h, w = x.shape
    return b * triton.cdiv(c, options["BLOCK_C"]) * h * triton.cdiv(w, options["BLOCK_W"])


@triton.jit
def _tile(C, H, W, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr):
    """This program's sample, channels `[BLOCK_C, 1]`, row, columns `[1, BLOCK_W]`, and tile in the plane."""
    across = tl.cdiv(W, BLOCK_W)
    pid = tl.program_id(0)
    tile, rest = pid % (across * H), pid // (across * H)
    blocks = tl.cdiv(C, BLOCK_C)
    b = (rest // blocks).to(tl.int64)
    c = ((rest % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]).to(tl.int64)
    h = (tile // across).to(tl.int64)
    w = ((tile % across) * BLOCK_W + tl.arange(0, BLOCK_W)[None, :]).to(tl.int64)
    return b, c, h, w, tile


@triton.jit(do_not_specialize=["H"])
def _forward(
    x, gate, residual, y, C, H, W,
    xb, xc, xh, xw, gb, gc, rb, rc, rh, rw, yb, yc, yh, yw,
    RESIDUAL: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    b, c, h, w, _ = _tile(C, H, W, BLOCK_C, BLOCK_W)
    inside = (c < C) & (w < W)
    result = tl.load(x + b * xb + c * xc + h * xh + w * xw, mask=inside, other=0).to(tl.float32)
    result *= tl.load(gate + b * gb + c * gc, mask=c < C, other=0).to(tl.float32)
    if RESIDUAL:
        result += tl.load(residual + b * rb + c * rc + h * rh + w * rw, mask=inside, other=0).to(tl.float32)
    tl.store(y + b * yb + c * yc + h * yh + w * yw, result, mask=inside)


@triton.jit(do_not_specialize=["H"])
def _backward(
    grad, x, gate, grad_x, partial, C, H, W,
    gb, gc, gh, gw, xb, xc, xh, xw, ab, ac, ob, oc, oh, ow,
    BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    b, c, h, w, tile = _tile(C, H, W, BLOCK_C, BLOCK_W)
    inside = (c < C) & (w < W)
    upstream = tl.load(grad + b * gb + c * gc + h * gh + w * gw, mask=inside, other=0).to(tl.float32)
    factor = tl.load(gate + b * ab + c * ac, mask=c < C, other=0).to(tl.float32)
    tl.store(grad_x + b * ob + c * oc + h * oh + w * ow, upstream * factor, mask=inside)
    product = upstream * tl.load(x + b * xb + c * xc + h * xh + w * xw, mask=inside, other=0).to(tl.float32)
    tiles = H * tl.cdiv(W, BLOCK_W)
    tl.store(partial + (b * tiles + tile) * C + c, tl.sum(product, axis=1, keep_dims=True), mask=c < C)
