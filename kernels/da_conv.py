"""Degradation-aware convolution in Triton: features are read once and written once.

Forward, a program takes BLOCK_P pixels: the depthwise result is computed in registers, BLOCK_C channels at a time,
and multiplied by the pointwise weights on the tensor cores; bias, gate and LeakyReLU follow in registers. Backward,
`_pointwise_backward` computes the depthwise result again, takes the gradient back through the pointwise product and
the first LeakyReLU, and leaves partial sums for weight, bias and gate; the depthwise backward kernel does the rest.
"""

from dataclasses import replace
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dasr_fast.kernels.activation import leaky_relu, leaky_relu_backward
from dasr_fast.kernels.dynamic_depthwise_conv import adjacent, depthwise_backward
from dasr_fast.kernels.launch import launch, product_type
from dasr_fast.kernels.options import Options, Problem, channels_last, choose, problem
from dasr_fast.kernels.requirements import obstacle
from dasr_fast.reference.layout import memory_format

WIDEST = 256
"""Most output channels: a program holds all of them."""

PROGRAMS = 256
"""How many programs the backward pass of the pointwise product is split into, or a few more."""


def unsupported(x: Tensor, kernel: Tensor, weight: Tensor, *_: Any) -> str | None:
    if x.dtype == torch.float64:
        return "it computes in float32, and x is float64"
    if x.shape[1] == 0:
        return "x has no channels"
    if x.shape[2] * x.shape[3] >= 2**31:
        return "it counts the pixels of a plane in 32 bits"
    if weight.shape[0] > WIDEST:
        return f"it holds at most {WIDEST} output channels, and weight has {weight.shape[0]}"
    return obstacle(x.device)


def da_conv(x: Tensor, kernel: Tensor, weight: Tensor, *others: Any) -> Tensor:
    """As `dasr_fast.reference.da_conv`; float32 products in TF32 if PyTorch's convolutions may use it.

    Triton cuts operands off to TF32, where cuDNN rounds them.
    """
    bias, gate, negative_slope, activate = others
    b, c, h, w = x.shape
    out = weight.shape[0]
    kernel = adjacent(kernel, x)
    y = torch.empty((b, out, h, w), dtype=x.dtype, device=x.device, memory_format=memory_format(x))
    size = kernel.shape[-1]
    options = choose(_problem("da_conv", x, out, size), default_options(x, out, size), x.device)
    launch(
        _forward,
        b * triton.cdiv(h * w, options["BLOCK_P"]),
        *(x, kernel, weight, x if bias is None else bias, x if gate is None else gate, y, c, out, h, w),
        *(*x.stride(), *kernel.stride(), *weight.stride(), 0 if bias is None else bias.stride(0)),
        *((0, 0) if gate is None else gate.stride()),
        *y.stride(),
        negative_slope,
        K=size,
        BIAS=bias is not None,
        GATE=gate is not None,
        ACTIVATE=activate,
        PRECISION=precision(),
        OPERAND=product_type(x.dtype),
        CHUNKS=triton.cdiv(c, options["BLOCK_C"]),
        BLOCK_O=_block(out),
        **options,
    )
    return y


def da_conv_backward(grad: Tensor, x: Tensor, kernel: Tensor, weight: Tensor, *others: Any) -> tuple[Tensor, ...]:
    """As `dasr_fast.reference.da_conv.da_conv_backward`."""
    gate, y, negative_slope = others
    b, c, h, w = x.shape
    out = weight.shape[0]
    kernel = adjacent(kernel, x)
    size = kernel.shape[-1]
    asked = _problem("da_conv_backward", x, out, size)
    options = choose(asked, default_backward_options(x, out, size), x.device)
    chunks = triton.cdiv(c, options["BLOCK_C"])
    tiles = triton.cdiv(h * w, options["BLOCK_P"])
    splits = min(tiles, triton.cdiv(PROGRAMS, max(1, b * chunks)))
    grad_filtered = torch.empty_like(x, memory_format=memory_format(x))
    partial_weight = torch.empty(b * splits, out, c, dtype=torch.float32, device=x.device)
    partial_bias = torch.empty(b * splits, out, dtype=torch.float32, device=x.device)
    partial_gate = torch.empty(b, splits, c if gate is not None else 0, dtype=torch.float32, device=x.device)
    sign = grad if y is None else y
    launch(
        _pointwise_backward,
        b * splits * chunks,
        *(grad, sign, x, kernel, weight, grad_filtered, partial_weight, partial_bias, partial_gate),
        *(c, out, h, w, splits, triton.cdiv(tiles, max(1, splits))),
        *(*grad.stride(), *sign.stride(), *x.stride(), *kernel.stride(), *weight.stride(), *grad_filtered.stride()),
        negative_slope,
        K=size,
        GATE=gate is not None,
        ACTIVATE=y is not None,
        PRECISION=precision(),
        OPERAND=product_type(x.dtype),
        CHUNKS=chunks,
        BLOCK_O=_block(out),
        **options,
    )
    modulated = None if gate is None else (grad, y, gate)
    grad_x, grad_kernel = depthwise_backward(grad_filtered, x, kernel, None, negative_slope, modulated)
    return (
        grad_x,
        grad_kernel,
        partial_weight.sum(0).to(weight.dtype),
        partial_bias.sum(0).to(weight.dtype),
        x.new_empty(0) if gate is None else partial_gate.sum(1).to(gate.dtype),
    )


def _problem(kernel: str, x: Tensor, out: int, size: int) -> Problem:
    asked = problem(kernel, x, *x.shape, out, size)
    return asked if x.dtype != torch.float32 else replace(asked, dtype="float32" if _exact(x) else "tf32")


def default_options(x: Tensor, out: int, size: int) -> Options:
    """Tile of a program, fewer channels or pixels at a time where more of them would fill the registers."""
    block = _block(x.shape[1])
    few = max(block, _block(out)) > 64 or _exact(x)
    return {
        "BLOCK_P": 16 if size > 5 else 32,
        "BLOCK_C": min(32, block) if few else block,
        "num_warps": 8,
        "num_stages": 1,
    }


def default_backward_options(x: Tensor, out: int, size: int) -> Options:
    """The same with fewer pixels."""
    large = _exact(x) or size > 3 or (x.dtype == torch.float32 and _block(out) > 128)
    fits = channels_last(x) and not large
    return {**default_options(x, out, size), "BLOCK_P": 32 if fits else 16}


def _exact(x: Tensor) -> bool:
    """Whether products are computed without tensor cores, with more operands to a thread."""
    return x.dtype == torch.float32 and precision() == "ieee"


def precision() -> str:
    """How float32 products are computed: as PyTorch's convolutions on this GPU."""
    return "tf32" if torch.backends.cudnn.conv.fp32_precision == "tf32" else "ieee"


def _block(channels: int) -> int:
    return max(16, triton.next_power_of_2(max(1, channels)))


@triton.jit
def _filtered(
    x, kernel, c, C, p, H, W, xc, xh, xw, kc, kh, kw, slope,
    K: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    """LeakyReLU of the depthwise result for channels `c` `[BLOCK_C, 1]` and pixels `p` `[1, BLOCK_P]`."""
    h, w = p // W, p % W
    x += c * xc + h.to(tl.int64) * xh + w.to(tl.int64) * xw
    kernel += c * kc
    masks = ()
    for i in tl.static_range(K):
        column = w + (i - K // 2)
        masks += ((column >= 0) & (column < W),)
    y = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    for j in tl.static_range(K):
        row = h + (j - K // 2)
        inside = (c < C) & ((p < H * W) & (row >= 0) & (row < H))
        for i in tl.static_range(K):
            tap = tl.load(kernel + (j * kh + i * kw), mask=c < C, other=0).to(tl.float32)
            value = tl.load(x + ((j - K // 2) * xh + (i - K // 2) * xw), mask=inside & masks[i], other=0)
            y += value.to(tl.float32) * tap
    return leaky_relu(y, slope)


@triton.jit(do_not_specialize=["H", "W"])
def _forward(
    x, kernel, weight, bias, gate, y, C, OUT, H, W,
    xb, xc, xh, xw, kb, kc, kh, kw, wo, wc, bo, gb, gc, yb, yc, yh, yw,
    slope,
    K: tl.constexpr, BIAS: tl.constexpr, GATE: tl.constexpr, ACTIVATE: tl.constexpr,
    PRECISION: tl.constexpr, OPERAND: tl.constexpr, CHUNKS: tl.constexpr,
    BLOCK_O: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    tiles = tl.cdiv(H * W, BLOCK_P)
    b = (tl.program_id(0) // tiles).to(tl.int64)
    p = (tl.program_id(0) % tiles) * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
    o = tl.arange(0, BLOCK_O)[:, None].to(tl.int64)
    x += b * xb
    kernel += b * kb
    result = tl.zeros((BLOCK_O, BLOCK_P), tl.float32)
    for chunk in range(CHUNKS):
        c = chunk * BLOCK_C + tl.arange(0, BLOCK_C).to(tl.int64)
        weights = tl.load(weight + o * wo + c[None, :] * wc, mask=(o < OUT) & (c[None, :] < C), other=0).to(OPERAND)
        filtered = _filtered(x, kernel, c[:, None], C, p, H, W, xc, xh, xw, kc, kh, kw, slope, K, BLOCK_C, BLOCK_P)
        result = tl.dot(weights, filtered.to(x.dtype.element_ty).to(OPERAND), result, input_precision=PRECISION)
    h, w = (p // W).to(tl.int64), (p % W).to(tl.int64)
    inside = (o < OUT) & (p < H * W)
    if BIAS:
        result += tl.load(bias + o * bo, mask=o < OUT, other=0).to(tl.float32)
    if GATE:
        value = tl.load(x + o * xc + h * xh + w * xw, mask=inside, other=0).to(tl.float32)
        result += value * tl.load(gate + b * gb + o * gc, mask=o < OUT, other=0).to(tl.float32)
    if ACTIVATE:
        result = leaky_relu(result, slope)
    tl.store(y + b * yb + o * yc + h * yh + w * yw, result, mask=inside)


@triton.jit
def _upstream(
    grad, sign, o, OUT, p, H, W, gc, gh, gw, sc, sh, sw, slope, ACTIVATE: tl.constexpr,
):  # fmt: skip
    """Gradient before the closing LeakyReLU for channels `o` and pixels `p`."""
    h, w = (p // W).to(tl.int64), (p % W).to(tl.int64)
    inside = (o < OUT) & (p < H * W)
    value = tl.load(grad + o * gc + h * gh + w * gw, mask=inside, other=0).to(tl.float32)
    if ACTIVATE:
        y = tl.load(sign + o * sc + h * sh + w * sw, mask=inside, other=0)
        value = leaky_relu_backward(value, y, slope)
    return value


@triton.jit(do_not_specialize=["H", "W", "splits", "each"])
def _pointwise_backward(
    grad, sign, x, kernel, weight, grad_filtered, partial_weight, partial_bias, partial_gate,
    C, OUT, H, W, splits, each,
    gb, gc, gh, gw, sb, sc, sh, sw, xb, xc, xh, xw, kb, kc, kh, kw, wo, wc, fb, fc, fh, fw,
    slope,
    K: tl.constexpr, GATE: tl.constexpr, ACTIVATE: tl.constexpr, PRECISION: tl.constexpr, OPERAND: tl.constexpr,
    CHUNKS: tl.constexpr, BLOCK_O: tl.constexpr, BLOCK_C: tl.constexpr, BLOCK_P: tl.constexpr,
):  # fmt: skip
    # A program takes `each` tiles of pixels of one sample, and one chunk of channels.
    chunk = tl.program_id(0) % CHUNKS
    part = tl.program_id(0) // CHUNKS
    b = (part // splits).to(tl.int64)
    o = tl.arange(0, BLOCK_O)[:, None].to(tl.int64)
    c = (chunk * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]).to(tl.int64)
    grad += b * gb
    sign += b * sb
    x += b * xb
    kernel += b * kb
    grad_filtered += b * fb + c * fc
    # Transposed, [BLOCK_C, BLOCK_O].
    weights = tl.load(
        weight + tl.arange(0, BLOCK_O)[None, :].to(tl.int64) * wo + c * wc,
        mask=(tl.arange(0, BLOCK_O)[None, :] < OUT) & (c < C),
        other=0,
    ).to(OPERAND)
    sum_weight = tl.zeros((BLOCK_O, BLOCK_C), tl.float32)
    sum_bias = tl.zeros((BLOCK_O, BLOCK_P), tl.float32)
    sum_gate = tl.zeros((BLOCK_C, BLOCK_P), tl.float32)
    first = (part % splits) * each
    for tile in range(first, min(first + each, tl.cdiv(H * W, BLOCK_P))):
        p = tile * BLOCK_P + tl.arange(0, BLOCK_P)[None, :]
        h, w = (p // W).to(tl.int64), (p % W).to(tl.int64)
        upstream = _upstream(grad, sign, o, OUT, p, H, W, gc, gh, gw, sc, sh, sw, slope, ACTIVATE)
        sum_bias += upstream
        upstream = upstream.to(x.dtype.element_ty).to(OPERAND)
        filtered = _filtered(x, kernel, c, C, p, H, W, xc, xh, xw, kc, kh, kw, slope, K, BLOCK_C, BLOCK_P)
        operand = tl.trans(filtered.to(x.dtype.element_ty).to(OPERAND))
        sum_weight = tl.dot(upstream, operand, sum_weight, input_precision=PRECISION)
        through = leaky_relu_backward(tl.dot(weights, upstream, input_precision=PRECISION), filtered, slope)
        tl.store(grad_filtered + h * fh + w * fw, through, mask=(c < C) & (p < H * W))
        if GATE:
            value = tl.load(x + c * xc + h * xh + w * xw, mask=(c < C) & (p < H * W), other=0).to(tl.float32)
            sum_gate += value * _upstream(grad, sign, c, OUT, p, H, W, gc, gh, gw, sc, sh, sw, slope, ACTIVATE)
    columns = tl.trans(c)
    part = part.to(tl.int64)
    tl.store(partial_weight + part * OUT * C + o * C + columns, sum_weight, mask=(o < OUT) & (columns < C))
    if chunk == 0:
        tl.store(partial_bias + part * OUT + o, tl.sum(sum_bias, axis=1, keep_dims=True), mask=o < OUT)
    if GATE:
        tl.store(partial_gate + part * C + c, tl.sum(sum_gate, axis=1, keep_dims=True), mask=c < C)
