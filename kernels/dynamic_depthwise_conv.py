"""Dynamic depthwise convolution in Triton: one read of the features, one write, LeakyReLU in the same pass.

A program takes a tile of BLOCK_C channels by BLOCK_W columns and walks down ROWS rows. Each row is read once (K times
from the L1 cache, shifted) and added to the K output rows that it touches, which wait in registers; so the same
code serves both memory formats and every K. The backward pass walks in the same way over the gradient's rows: they
give the gradient for x, and, times x, K * K partial sums for the filter, which a second reduction adds in a fixed
order.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dasr_fast.kernels.activation import leaky_relu, leaky_relu_backward
from dasr_fast.kernels.launch import launch
from dasr_fast.kernels.options import Options, channels_last, choose, problem
from dasr_fast.kernels.requirements import obstacle
from dasr_fast.reference.layout import memory_format


def unsupported(x: Tensor, kernel: Tensor, negative_slope: float | None) -> str | None:
    return "it computes in float32, and x is float64" if x.dtype == torch.float64 else obstacle(x.device)


def dynamic_depthwise_conv(x: Tensor, kernel: Tensor, negative_slope: float | None) -> Tensor:
    """As `dasr_fast.reference.dynamic_depthwise_conv`."""
    y = torch.empty_like(x, memory_format=memory_format(x))
    kernel, size = adjacent(kernel, x), kernel.shape[-1]
    options = choose(problem("depthwise", x, *x.shape, size), default_options(x, size), x.device)
    strides = (*x.stride(), *kernel.stride(), *y.stride())
    slope = 1.0 if negative_slope is None else negative_slope
    launch(
        _forward,
        programs(x, options),
        *(x, kernel, y, *x.shape[1:], *strides, slope),
        K=size,
        ACTIVATE=negative_slope is not None,
        **options,
    )
    return y


def dynamic_depthwise_conv_backward(
    grad: Tensor, x: Tensor, kernel: Tensor, y: Tensor | None, negative_slope: float | None
) -> tuple[Tensor, Tensor]:
    """As `dasr_fast.reference.dynamic_depthwise_conv.dynamic_depthwise_conv_backward`."""
    return depthwise_backward(grad, x, kernel, y, negative_slope)


def depthwise_backward(
    grad: Tensor,
    x: Tensor,
    kernel: Tensor,
    y: Tensor | None,
    negative_slope: float | None,
    modulated: tuple[Tensor, Tensor | None, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of the depthwise convolution for `x` and `kernel`.

    Args:
        grad: Gradient of the output, of any strides.
        x: Features.
        kernel: Filters.
        y: The output, whose sign is the LeakyReLU's; None if there was none.
        negative_slope: Its slope.
        modulated: A second branch `output = x * gate`, then LeakyReLU, to add to the gradient for x: the gradient of
            its output, that output (None without LeakyReLU), and the gate.
    """
    b, c, h, w = x.shape
    kernel, size = adjacent(kernel, x), kernel.shape[-1]
    grad_x = torch.empty_like(x, memory_format=memory_format(x))
    name = "depthwise_backward" if modulated is None else "modulated_depthwise_backward"
    options = choose(problem(name, x, b, c, h, w, size), default_options(x, size, 4), x.device)
    tiles = triton.cdiv(h, options["ROWS"]) * triton.cdiv(w, options["BLOCK_W"])
    partial = torch.empty(b, tiles, c, size * size, dtype=torch.float32, device=x.device)
    branch, branch_y, gate = modulated or (grad, None, grad)
    sign, branch_sign = (grad if y is None else y), (branch if branch_y is None else branch_y)
    launch(
        _backward,
        programs(x, options),
        *(grad, sign, x, kernel, grad_x, partial),
        *(branch, branch_sign, gate, c, h, w, tiles),
        *(*grad.stride(), *sign.stride(), *x.stride(), *kernel.stride(), *grad_x.stride()),
        *(*branch.stride(), *branch_sign.stride(), *gate.stride()[:2]),
        1.0 if negative_slope is None else negative_slope,
        K=size,
        ACTIVATE=y is not None,
        MODULATED=modulated is not None,
        BRANCH_ACTIVATE=branch_y is not None,
        **options,
    )
    return grad_x, partial.sum(1).to(kernel.dtype).reshape(kernel.shape)


def adjacent(kernel: Tensor, x: Tensor) -> Tensor:
    """Filters laid out as `x` is, so that one access fetches a tap of several channels where they are adjacent."""
    return kernel.contiguous(memory_format=torch.channels_last) if channels_last(x) else kernel


def default_options(x: Tensor, size: int, most: int = 8) -> Options:
    """Tile of a program, for filters of `size`; at most `most` elements a thread in channels-last."""
    c, h, w = x.shape[1:]
    rows = min({1: 8, 3: 8, 5: 4, 7: 2}[size], triton.next_power_of_2(max(1, h)))
    if channels_last(x):
        # Sixteen bytes of adjacent channels to a thread; fewer where the filter's taps fill the registers.
        block_c = min(64, triton.next_power_of_2(c))
        each = min(most, {1: 8, 3: 8, 5: 2, 7: 1}[size])
        return {"BLOCK_C": block_c, "BLOCK_W": max(1, 128 * each // block_c), "ROWS": rows, "num_warps": 4}
    # One column to a thread: shifted rows can't be read in wider pieces.
    block_w = min((64, 32, 16), key=lambda block: (triton.cdiv(w, block) * block, -block))
    return {"BLOCK_C": 128 // block_w, "BLOCK_W": block_w, "ROWS": rows, "num_warps": 4}


def programs(x: Tensor, options: Options) -> int:
    """Tiles of `x`."""
    b, c, h, w = x.shape
    across = triton.cdiv(w, options["BLOCK_W"]) * triton.cdiv(h, options["ROWS"])
    return b * triton.cdiv(c, options["BLOCK_C"]) * across


@triton.jit
def _tile(C, H, W, BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr, ROWS: tl.constexpr):
    """This program's sample, channels `[BLOCK_C, 1]`, first row, columns `[1, BLOCK_W]`, and tile in the plane."""
    across, down = tl.cdiv(W, BLOCK_W), tl.cdiv(H, ROWS)
    pid = tl.program_id(0)
    tile, rest = pid % (across * down), pid // (across * down)
    blocks = tl.cdiv(C, BLOCK_C)
    b = (rest // blocks).to(tl.int64)
    c = ((rest % blocks) * BLOCK_C + tl.arange(0, BLOCK_C)[:, None]).to(tl.int64)
    h = (tile // across * ROWS).to(tl.int64)
    w = ((tile % across) * BLOCK_W + tl.arange(0, BLOCK_W)[None, :]).to(tl.int64)
    return b, c, h, w, tile


@triton.jit
def _filters(kernel, b, c, C, kb, kc, kh, kw, K: tl.constexpr):
    """The K * K taps of the tile's channels, each `[BLOCK_C, 1]`."""
    taps = ()
    for j in tl.static_range(K):
        for i in tl.static_range(K):
            tap = tl.load(kernel + b * kb + c * kc + j * kh + i * kw, mask=c < C, other=0)
            taps += (tap.to(tl.float32),)
    return taps


@triton.jit
def _inside(c, w, C, W, FIRST: tl.constexpr, STEP: tl.constexpr, K: tl.constexpr):
    """Whether the columns `w + FIRST`, `w + FIRST + STEP`, ... are in the plane: K masks."""
    masks = ()
    for i in tl.static_range(K):
        column = w + (FIRST + STEP * i)
        masks += ((c < C) & (column >= 0) & (column < W),)
    return masks


@triton.jit
def _repeated(value, N: tl.constexpr):
    """A tuple of N times the value."""
    values = ()
    for _ in tl.static_range(N):
        values += (value,)
    return values


@triton.jit(do_not_specialize=["H", "W"])
def _forward(
    x, kernel, y, C, H, W,
    xb, xc, xh, xw, kb, kc, kh, kw, yb, yc, yh, yw,
    slope,
    K: tl.constexpr, ACTIVATE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    b, c, h, w, _ = _tile(C, H, W, BLOCK_C, BLOCK_W, ROWS)
    taps = _filters(kernel, b, c, C, kb, kc, kh, kw, K)
    x += b * xb + c * xc + w * xw
    y += b * yb + c * yc + w * yw
    held = (c < C) & (w < W)
    masks = _inside(c, w, C, W, -(K // 2), 1, K)
    zero = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    sums = _repeated(zero, K)  # The K output rows that the current row touches, the topmost first.
    for r in tl.static_range(ROWS + K - 1):
        row = h + (r - K // 2)
        inside = (row >= 0) & (row < H)
        for i in tl.static_range(K):
            value = tl.load(x + (row * xh + (i - K // 2) * xw), mask=masks[i] & inside, other=0).to(tl.float32)
            added = ()
            for n in tl.static_range(K):
                if (r + n >= K - 1) and (r + n < ROWS + K - 1):
                    added += (sums[n] + value * taps[(K - 1 - n) * K + i],)
                else:
                    added += (sums[n],)
            sums = added
        if r >= K - 1:
            row = h + (r - (K - 1))
            result = leaky_relu(sums[0], slope) if ACTIVATE else sums[0]
            tl.store(y + row * yh, result, mask=held & (row < H))
        sums = sums[1:] + (zero,)


@triton.jit(do_not_specialize=["H", "W", "tiles"])
def _backward(
    grad, sign, x, kernel, grad_x, partial, branch, branch_sign, gate, C, H, W, tiles,
    gb, gc, gh, gw, sb, sc, sh, sw, xb, xc, xh, xw, kb, kc, kh, kw, ob, oc, oh, ow,
    bb, bc, bh, bw, tb, tc, th, tw, ab, ac,
    slope,
    K: tl.constexpr, ACTIVATE: tl.constexpr, MODULATED: tl.constexpr, BRANCH_ACTIVATE: tl.constexpr,
    BLOCK_C: tl.constexpr, BLOCK_W: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    b, c, h, w, tile = _tile(C, H, W, BLOCK_C, BLOCK_W, ROWS)
    taps = _filters(kernel, b, c, C, kb, kc, kh, kw, K)
    grad += b * gb + c * gc + w * gw
    sign += b * sb + c * sc + w * sw
    x += b * xb + c * xc + w * xw
    grad_x += b * ob + c * oc + w * ow
    held = (c < C) & (w < W)
    masks = _inside(c, w, C, W, K // 2, -1, K)
    zero = tl.zeros((BLOCK_C, BLOCK_W), tl.float32)
    sums, rows = _repeated(zero, K), _repeated(zero, K)  # Of grad_x and x, the topmost first.
    products = _repeated(zero, K * K)  # Sums for the filter, by column.
    for r in tl.static_range(ROWS + K - 1):
        if r < ROWS:
            rows = rows[1:] + (tl.load(x + (h + r) * xh, mask=held & (h + r < H), other=0).to(tl.float32),)
        else:
            rows = rows[1:] + (zero,)
        row = h + (r - K // 2)
        inside = (row >= 0) & (row < H)
        for i in tl.static_range(K):
            value = tl.load(grad + (row * gh + (K // 2 - i) * gw), mask=masks[i] & inside, other=0).to(tl.float32)
            if ACTIVATE:
                y = tl.load(sign + (row * sh + (K // 2 - i) * sw), mask=masks[i] & inside, other=0)
                value = leaky_relu_backward(value, y, slope)
            added, multiplied = (), ()
            for n in tl.static_range(K):  # Row n of the window is row r - (K - 1) + n of the tile, under tap n.
                if (r + n >= K - 1) and (r + n < ROWS + K - 1):
                    added += (sums[n] + value * taps[n * K + i],)
                    multiplied += (products[i * K + n] + value * rows[n],)
                else:
                    added += (sums[n],)
                    multiplied += (products[i * K + n],)
            sums, products = added, products[: i * K] + multiplied + products[(i + 1) * K :]
        if r >= K - 1:
            row = h + (r - (K - 1))
            inside = held & (row < H)
            result = sums[0]
            if MODULATED:
                value = tl.load(branch + b * bb + c * bc + row * bh + w * bw, mask=inside, other=0).to(tl.float32)
                if BRANCH_ACTIVATE:
                    y = tl.load(branch_sign + b * tb + c * tc + row * th + w * tw, mask=inside, other=0)
                    value = leaky_relu_backward(value, y, slope)
                result += value * tl.load(gate + b * ab + c * ac, mask=c < C, other=0).to(tl.float32)
            tl.store(grad_x + row * oh, result, mask=inside)
        sums = sums[1:] + (zero,)
    partial += ((b * tiles + tile) * C + c) * K * K
    for i in tl.static_range(K):
        for n in tl.static_range(K):
            total = tl.sum(products[i * K + n], axis=1, keep_dims=True)
            tl.store(partial + n * K + i, total, mask=c < C)
