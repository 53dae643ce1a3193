"""Blur and downsampling in Triton: one strided stencil instead of a blur at full resolution.

`_compose` convolves each blur kernel with the bicubic taps, whose weights are first folded onto the image where they
reach beyond it: two outputs at either end of an axis have weights of their own, all others share one stencil.
`_stencil` applies the stencils as matrix products on the tensor cores: for one row of the stencil, the pixels of many
output rows times a band matrix that holds the stencil's row once for each of BLOCK_J neighbouring outputs. Whole grey
levels are exact in bfloat16, so there only the weights are split, in three; other images take TF32 in three parts.
Noise, rounding and clamping follow in registers.

A pixel that is not finite spreads over the products that it takes part in, up to BLOCK_J outputs beside its own.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from dasr_fast.kernels.launch import launch, product_type
from dasr_fast.kernels.options import Options, choose, problem
from dasr_fast.kernels.requirements import obstacle
from dasr_fast.reference.bicubic import EDGE, downsampling_taps
from dasr_fast.reference.blur_downsample import After, new_padded, unpadded, unsupported_in_float32
from dasr_fast.reference.layout import image_format

LARGEST = 128
"""Most rows and columns of a blur kernel: a program of `_compose` holds it whole."""

EXACT = (torch.uint8, torch.bfloat16)
"""Types whose values are exact in bfloat16."""


def unsupported(hr: Tensor, kernel: Tensor, *_: Any) -> str | None:
    return unsupported_in_float32(hr, kernel, LARGEST) or obstacle(hr.device)


def blur_downsample(hr: Tensor, kernel: Tensor, scale: int, mode: str, *after: Any) -> Tensor:
    """As `dasr_fast.reference.blur_downsample`."""
    height, width = hr.shape[-2] // scale, hr.shape[-1] // scale
    y = torch.empty(
        (*hr.shape[:-2], height, width),
        dtype=hr.dtype if hr.dtype.is_floating_point else kernel.dtype,
        device=hr.device,
        memory_format=image_format(hr),
    )
    edge = _edge(scale, mode)
    stencils = _composed(kernel, scale, *hr.shape[-2:]) if edge else kernel[:, None, None]
    top, left = (_first(scale, mode) - size // 2 for size in kernel.shape[1:])
    _apply(hr, stencils, y, scale, top, left, After(*after), edge=edge, reflect=True)
    return y


def blur_downsample_grad_hr(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """As `dasr_fast.reference.blur_downsample.blur_downsample_grad_hr`."""
    kh, kw = kernel.shape[1:]
    grad_blurred = _spread(grad, scale, mode, *hr.shape[-2:])
    grad_padded = new_padded(grad_blurred, kernel)
    _apply(
        grad_blurred, kernel.flip(1, 2)[:, None, None], grad_padded, 1, 1 - kh, 1 - kw, After(), edge=0, reflect=False
    )
    return unpadded(grad_padded, kernel).reshape(hr.shape).to(grad.dtype)


def blur_downsample_grad_kernel(grad: Tensor, hr: Tensor, kernel: Tensor, scale: int, mode: str) -> Tensor:
    """As `dasr_fast.reference.blur_downsample.blur_downsample_grad_kernel`."""
    b, n, c, height, width, *strides = _images(hr)
    (height, width), (kh, kw) = hr.shape[-2:], kernel.shape[1:]
    grad_blurred = _spread(grad, scale, mode, height, width)
    rows = n * c * (height + kh - 1)
    options = choose(problem("blur_grad_kernel", hr, b, n * c, height, width, kh, kw), GRAD_KERNEL_OPTIONS, hr.device)
    lags = triton.cdiv(kh, options["BLOCK_H"]) * triton.cdiv(kw, options["BLOCK_W"])
    splits = min(rows, triton.cdiv(PROGRAMS, max(1, b * lags)))
    partial = torch.empty(b, splits, kh, kw, dtype=torch.float32, device=hr.device)
    launch(
        _grad_kernel,
        b * splits * lags,
        *(grad_blurred, hr, partial, n * c, c, height, width, splits, triton.cdiv(rows, max(1, splits))),
        *(*strides, kh, kw),
        **options,
    )
    return partial.sum(1).to(kernel.dtype)


GRAD_KERNEL_OPTIONS: Options = {"BLOCK_H": 32, "BLOCK_W": 32, "BLOCK_K": 16, "num_warps": 4, "num_stages": 1}

PROGRAMS = 1024
"""How many programs the gradient for the kernel is split into, or a few more."""


def default_options(hr: Tensor) -> Options:
    """Tile of a program of `_stencil`: rows of the product, output rows and columns to a row, depth of a step."""
    return {
        "BLOCK_M": 32,
        "GROUP": 2,
        "BLOCK_J": 16,
        "BLOCK_K": 32 if hr.dtype in EXACT else 16,
        "num_warps": 4,
        "num_stages": 1,
    }


def _first(scale: int, mode: str) -> int:
    """Offset of the first tap of downsampling."""
    return 0 if mode == "s-fold" else downsampling_taps(scale)[0]


def _images(hr: Tensor) -> tuple[int, ...]:
    """Samples, patches, channels, height, width, and the strides of all of them."""
    if hr.dim() == 4:
        hr = hr[:, None]
    return (*hr.shape, *hr.stride())


def _edge(scale: int, mode: str) -> int:
    return 0 if mode == "s-fold" or scale == 1 else EDGE


def _folded_taps(scale: int, height: int, width: int, device: torch.device) -> Tensor:
    """Weights `[2, classes, taps]` of downsampling rows and columns, those beyond the image moved to its last pixel."""
    first, weights = downsampling_taps(scale)
    folded = torch.empty(2, 2 * EDGE + 1, len(weights), dtype=torch.float32, device=device)
    launch(
        _fold,
        2 * (2 * EDGE + 1),
        *(folded, height, width, height // scale, width // scale),
        SCALE=scale,
        FIRST=first,
        WEIGHTS=tuple(weights),
        EDGE=EDGE,
        num_warps=1,
    )
    return folded


def _composed(kernel: Tensor, scale: int, height: int, width: int) -> Tensor:
    """Stencils `[B, 5, 5, kh + taps - 1, kw + taps - 1]` for the classes of output rows and columns."""
    b, kh, kw = kernel.shape
    folded = _folded_taps(scale, height, width, kernel.device)
    _, classes, taps = folded.shape
    u, v = kh + taps - 1, kw + taps - 1
    stencils = torch.empty(b, classes, classes, u, v, dtype=torch.float32, device=kernel.device)
    block = 64
    launch(
        _compose,
        b * classes**2 * triton.cdiv(u, block) * triton.cdiv(v, block),
        *(kernel, folded, stencils, kh, kw, u, v, *kernel.stride()),
        TAPS=taps,
        CLASSES=classes,
        BLOCK=block,
        BLOCK_H=max(16, triton.next_power_of_2(kh)),
        BLOCK_W=max(16, triton.next_power_of_2(kw)),
        num_warps=8,
    )
    return stencils


def _apply(
    hr: Tensor,
    stencils: Tensor,
    y: Tensor,
    stride: int,
    top: int,
    left: int,
    after: After,
    *,
    edge: int,
    reflect: bool,
) -> None:
    """Write to `y` the stencils' sums over `hr`, the first output's window starting at row `top`, column `left`."""
    b, n, c, height, width, *strides = _images(hr)
    _, _, _, out_height, out_width, *out_strides = _images(y)
    u, v = stencils.shape[-2:]
    asked = problem("blur_downsample", hr, b, n * c, height, width, u, v, stride)
    options = choose(asked, default_options(hr), hr.device)
    group, block_m = options["GROUP"], options["BLOCK_M"]
    groups = triton.cdiv(out_height, group)
    top_groups = min(groups, triton.cdiv(edge, group))
    last = groups if edge == 0 else max(top_groups, (out_height - edge) // group)
    inner = triton.cdiv(n * c * (last - top_groups), block_m)
    outer = (top_groups + groups - last) * triton.cdiv(n * c, block_m)
    drawn, factor = (y if tensor is None else tensor for tensor in (after.noise, after.level))
    launch(
        _stencil,
        b * triton.cdiv(out_width, options["BLOCK_J"]) * (inner + outer),
        *(hr, stencils, y, drawn, factor, n * c, c, height, width, out_height, out_width, u, v, top, left),
        *(top_groups, last, inner, outer),
        *(*strides, *stencils.stride(), *out_strides, *_images(drawn)[5:], factor.stride(0)),
        STRIDE=stride,
        EDGE=edge,
        REFLECT=reflect,
        NOISE=after.noise is not None,
        LEVEL=after.level is not None,
        QUANTIZE=after.quantize,
        EXACT=hr.dtype in EXACT,
        OPERAND=product_type(torch.bfloat16 if hr.dtype in EXACT else torch.float32),
        **options,
    )


def _spread(grad: Tensor, scale: int, mode: str, height: int, width: int) -> Tensor:
    """Gradient of the blurred images, `[B, N * C, height, width]` in float32: downsampling's adjoint."""
    b, n, c, h, w, *strides = _images(grad)
    grad_blurred = torch.empty(b, n * c, height, width, dtype=torch.float32, device=grad.device)
    edge = _edge(scale, mode)
    folded = _folded_taps(scale, height, width, grad.device) if edge else grad
    launch(
        _adjoint,
        b * n * c * triton.cdiv(height, 16) * triton.cdiv(width, 64),
        *(grad, folded, grad_blurred, n * c, c, h, w, height, width, *strides),
        SCALE=scale,
        FIRST=_first(scale, mode),
        TAPS=folded.shape[2] if edge else 1,
        EDGE=edge,
        BLOCK_H=16,
        BLOCK_W=64,
        num_warps=4,
    )
    return grad_blurred


@triton.jit
def _class(i, count, EDGE: tl.constexpr):
    """Which stencil output `i` of `count` has along an axis: the first and last EDGE ones have their own."""
    inner = tl.minimum(i, EDGE) + tl.maximum(i - (count - 1 - EDGE), 0)
    return tl.minimum(tl.where(count <= 2 * EDGE + 1, i, inner), 2 * EDGE)


@triton.jit(do_not_specialize=["H", "W", "h", "w"])
def _fold(
    folded, H, W, h, w, SCALE: tl.constexpr, FIRST: tl.constexpr, WEIGHTS: tl.constexpr, EDGE: tl.constexpr,
):  # fmt: skip
    # A program takes a class of an axis: the weights of one of its outputs.
    TAPS: tl.constexpr = len(WEIGHTS)
    CLASSES: tl.constexpr = 2 * EDGE + 1
    axis, k = tl.program_id(0) // CLASSES, tl.program_id(0) % CLASSES
    size, count = tl.where(axis == 0, H, W), tl.where(axis == 0, h, w)
    output = tl.where((count <= CLASSES) | (k <= EDGE), k, count - CLASSES + k)
    tap = tl.arange(0, 16)
    weight = tl.zeros((16,), tl.float32)
    for t in tl.static_range(TAPS):
        weight = tl.where(tap == t, WEIGHTS[t], weight)
    start = SCALE * output + FIRST
    to = tl.minimum(tl.maximum(start + tap, 0), size - 1) - start
    moved = tl.sum(tl.where(to[:, None] == tap[None, :], weight[:, None], 0.0), axis=0)
    tl.store(folded + tl.program_id(0) * TAPS + tap, moved, mask=tap < TAPS)


@triton.jit(do_not_specialize=["KH", "KW", "U", "V"])
def _compose(
    kernel, folded, stencils, KH, KW, U, V, kb, kh, kw,
    TAPS: tl.constexpr, CLASSES: tl.constexpr, BLOCK: tl.constexpr, BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    pid = tl.program_id(0)
    column_block, pid = pid % tl.cdiv(V, BLOCK), pid // tl.cdiv(V, BLOCK)
    row_block, pid = pid % tl.cdiv(U, BLOCK), pid // tl.cdiv(U, BLOCK)
    i, j = pid // CLASSES % CLASSES, pid % CLASSES
    u = row_block * BLOCK + tl.arange(0, BLOCK)[:, None]
    v = column_block * BLOCK + tl.arange(0, BLOCK)[None, :]
    a, c = tl.arange(0, BLOCK_H), tl.arange(0, BLOCK_W)
    blur = tl.load(
        kernel + (pid // (CLASSES * CLASSES)).to(tl.int64) * kb + a[:, None] * kh + c[None, :] * kw,
        mask=(a[:, None] < KH) & (c[None, :] < KW),
        other=0,
    ).to(tl.float32)
    down, across = u - a[None, :], v - c[:, None]
    down = tl.load(folded + i * TAPS + down, mask=(down >= 0) & (down < TAPS), other=0)
    across = tl.load(folded + (CLASSES + j) * TAPS + across, mask=(across >= 0) & (across < TAPS), other=0)
    result = tl.dot(tl.dot(down, blur, input_precision="tf32x3"), across, input_precision="tf32x3")
    tl.store(stencils + pid.to(tl.int64) * U * V + u * V + v, result, mask=(u < U) & (v < V))


@triton.jit
def _reflected(position, size):
    """Index of a pixel beyond the image as reflect padding has it; within the image for any position."""
    position = tl.abs(position)
    return tl.maximum(size - 1 - tl.abs(size - 1 - position), 0)


@triton.jit(
    do_not_specialize=["M", "C", "H", "W", "h", "w", "U", "V", "top", "left"]
    + ["first_group", "last_group", "inner", "outer"]
)
def _stencil(
    x, stencils, y, noise, level, M, C, H, W, h, w, U, V, top, left, first_group, last_group, inner, outer,
    xb, xn, xc, xh, xw, sb, si, sj, su, sv, yb, yn, yc, yh, yw,
    nb, nn, nc, nh, nw, lb,
    STRIDE: tl.constexpr, EDGE: tl.constexpr, REFLECT: tl.constexpr, NOISE: tl.constexpr, LEVEL: tl.constexpr,
    QUANTIZE: tl.constexpr, EXACT: tl.constexpr, OPERAND: tl.constexpr,
    BLOCK_M: tl.constexpr, GROUP: tl.constexpr, BLOCK_J: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # A row of the product is an image and a group of GROUP output rows; its columns are those rows by BLOCK_J outputs.
    BLOCK_N: tl.constexpr = GROUP * BLOCK_J
    pid = tl.program_id(0)
    part, rest = pid % (inner + outer), pid // (inner + outer)
    blocks = tl.cdiv(w, BLOCK_J)
    b, first_j = (rest // blocks).to(tl.int64), rest % blocks * BLOCK_J
    if part < inner:  # Groups of which all rows have the same stencil.
        groups = last_group - first_group
        row = part * BLOCK_M + tl.arange(0, BLOCK_M)
        image, group = row // groups, first_group + row % groups
        member = first_group
    else:  # One group, of as many images as fit.
        per_group = tl.cdiv(M, BLOCK_M)
        member = (part - inner) // per_group
        member = tl.where(member < first_group, member, last_group + member - first_group)
        image = (part - inner) % per_group * BLOCK_M + tl.arange(0, BLOCK_M)
        group = tl.zeros((BLOCK_M,), tl.int32) + member
    patch, channel = (image // C).to(tl.int64), (image % C).to(tl.int64)
    offset = b * xb + patch * xn + channel * xc
    n = tl.arange(0, BLOCK_N)
    i, j = n // BLOCK_J, (first_j + n % BLOCK_J).to(tl.int64)
    weights = stencils + b * sb + _class(member * GROUP + i, h, EDGE)[:, None] * si + _class(j, w, EDGE)[:, None] * sj
    k = tl.arange(0, BLOCK_K)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    reach = V + STRIDE * (BLOCK_J - 1)
    for step in range(tl.cdiv(reach, BLOCK_K)):
        q = step * BLOCK_K + k
        column = first_j * STRIDE + q + left
        if REFLECT:
            inside_column = q < reach
            column = _reflected(column, W)
        else:
            inside_column = (column >= 0) & (column < W)
        v = q[None, :] - STRIDE * (j - first_j)[:, None]
        inside_v = (v >= 0) & (v < V)
        for r in range(U + STRIDE * (GROUP - 1)):
            row = group * (STRIDE * GROUP) + r + top
            inside_row = image < M
            if REFLECT:
                row = _reflected(row, H)
            else:
                inside_row = inside_row & (row >= 0) & (row < H)
            at = (offset + row.to(tl.int64) * xh)[:, None] + (column.to(tl.int64) * xw)[None, :]
            pixels = tl.load(x + at, mask=inside_row[:, None] & inside_column[None, :], other=0).to(OPERAND)
            u = r - STRIDE * i
            inside_u = (u >= 0) & (u < U)
            weight = tl.load(weights + u[:, None] * su + v * sv, mask=inside_u[:, None] & inside_v, other=0).to(
                tl.float32
            )
            if EXACT:
                high = weight.to(tl.bfloat16)
                weight -= high.to(tl.float32)
                middle = weight.to(tl.bfloat16)
                low = (weight - middle.to(tl.float32)).to(tl.bfloat16)
                # Tensor cores round sums towards 0: long ones are left to ordinary additions.
                step_sums = tl.dot(pixels, tl.trans(low.to(OPERAND)))
                step_sums = tl.dot(pixels, tl.trans(middle.to(OPERAND)), step_sums)
                sums += tl.dot(pixels, tl.trans(high.to(OPERAND)), step_sums)
            else:
                sums = tl.dot(pixels, tl.trans(weight), sums, input_precision="tf32x3")
    row = (group[:, None] * GROUP + i[None, :]).to(tl.int64)
    patch, channel = patch[:, None], channel[:, None]
    inside = (image < M)[:, None] & (row < h) & (j < w)[None, :]
    if NOISE:
        drawn = tl.load(noise + b * nb + patch * nn + channel * nc + row * nh + j[None, :] * nw, mask=inside, other=0)
        drawn = drawn.to(tl.float32)
        if LEVEL:
            drawn *= tl.load(level + b * lb).to(tl.float32)
        sums += drawn
    if QUANTIZE:
        sums = tl.where(sums < 0, 0.0, tl.where(sums > 255, 255.0, sums))
        sums = (sums + 12582912.0) - 12582912.0  # 1.5 * 2**23: what is left of a fraction there is rounded to even.
    tl.store(y + b * yb + patch * yn + channel * yc + row * yh + j[None, :] * yw, sums, mask=inside)


@triton.jit(do_not_specialize=["M", "C", "H", "W", "h", "w"])
def _adjoint(
    grad, folded, grad_blurred, M, C, h, w, H, W, gb, gn, gc, gh, gw,
    SCALE: tl.constexpr, FIRST: tl.constexpr, TAPS: tl.constexpr, EDGE: tl.constexpr,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr,
):  # fmt: skip
    REACH: tl.constexpr = (TAPS + SCALE - 1) // SCALE  # Outputs that a pixel may have a part in, along an axis.
    pid = tl.program_id(0)
    column_block, pid = pid % tl.cdiv(W, BLOCK_W), pid // tl.cdiv(W, BLOCK_W)
    row_block, image = pid % tl.cdiv(H, BLOCK_H), pid // tl.cdiv(H, BLOCK_H)
    row = row_block * BLOCK_H + tl.arange(0, BLOCK_H)[:, None]
    column = column_block * BLOCK_W + tl.arange(0, BLOCK_W)[None, :]
    b, m = (image // M).to(tl.int64), image % M
    grad += b * gb + (m // C).to(tl.int64) * gn + (m % C).to(tl.int64) * gc
    offsets, masks, weights = (), (), ()
    for back in tl.static_range(REACH):
        j = (column - FIRST) // SCALE - back
        tap = column - SCALE * j - FIRST
        inside = (j >= 0) & (j < w) & (tap < TAPS)
        offsets += (j.to(tl.int64) * gw,)
        masks += (inside,)
        if TAPS == 1:
            weights += (1.0,)
        else:
            at = folded + (2 * EDGE + 1 + _class(j, w, EDGE)) * TAPS + tap
            weights += (tl.load(at, mask=inside, other=0),)
    result = tl.zeros((BLOCK_H, BLOCK_W), tl.float32)
    for back in tl.static_range(REACH):
        i = (row - FIRST) // SCALE - back
        tap = row - SCALE * i - FIRST
        inside = (i >= 0) & (i < h) & (tap < TAPS)
        weight = 1.0
        if TAPS > 1:
            weight = tl.load(folded + _class(i, h, EDGE) * TAPS + tap, mask=inside, other=0)
        at = grad + i.to(tl.int64) * gh
        for n in tl.static_range(REACH):
            value = tl.load(at + offsets[n], mask=inside & masks[n], other=0).to(tl.float32)
            result += value * (weight * weights[n])
    at = (image.to(tl.int64) * H + row) * W + column
    tl.store(grad_blurred + at, result, mask=(row < H) & (column < W))


@triton.jit(do_not_specialize=["M", "C", "H", "W", "KH", "KW", "splits", "each"])
def _grad_kernel(
    grad_blurred, x, partial, M, C, H, W, splits, each, xb, xn, xc, xh, xw, KH, KW,
    BLOCK_H: tl.constexpr, BLOCK_W: tl.constexpr, BLOCK_K: tl.constexpr,
):  # fmt: skip
    # A program takes `each` rows of one sample's padded images, and a block of the kernel.
    pid = tl.program_id(0)
    columns = tl.cdiv(KW, BLOCK_W)
    lags = tl.cdiv(KH, BLOCK_H) * columns
    lag, part = pid % lags, pid // lags
    b = (part // splits).to(tl.int64)
    down = lag // columns * BLOCK_H + tl.arange(0, BLOCK_H)[None, :]
    across = lag % columns * BLOCK_W + tl.arange(0, BLOCK_W)[:, None]
    sums = tl.zeros((BLOCK_W, BLOCK_H), tl.float32)
    padded = H + KH - 1
    for step in range(each):
        index = part % splits * each + step
        image, row = index // padded, index % padded - KH // 2
        rows = (
            x
            + b * xb
            + (image // C).to(tl.int64) * xn
            + (image % C).to(tl.int64) * xc
            + _reflected(row, H).to(tl.int64) * xh
        )
        blurred_row = row + KH // 2 - down
        grads = grad_blurred + (b * M + image) * H * W + blurred_row.to(tl.int64) * W
        for first in range(0, W, BLOCK_K):
            column = first + tl.arange(0, BLOCK_K)
            inside = (image < M) & (column < W)[None, :] & (across < KW)
            at = _reflected(column[None, :] + across - KW // 2, W).to(tl.int64) * xw
            pixels = tl.load(rows + at, mask=inside, other=0).to(tl.float32)
            inside = (image < M) & (column < W)[:, None] & (blurred_row >= 0) & (blurred_row < H)
            upstream = tl.load(grads + column[:, None], mask=inside, other=0)
            sums = tl.dot(pixels, upstream, sums, input_precision="tf32x3")
    tl.store(partial + part.to(tl.int64) * KH * KW + down * KW + across, sums, mask=(down < KH) & (across < KW))
