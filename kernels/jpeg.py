"""JPEG compression and decompression in Triton: one kernel codes planes of blocks, another makes pixels of them again.

Whole numbers of 32 bits hold every sum, so that no order of additions matters: both transforms are products with
the matrix of the reference.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from dasr_fast.kernels.launch import launch
from dasr_fast.kernels.requirements import obstacle
from dasr_fast.reference.jpeg import tables, transform_matrix
from dasr_fast.reference.layout import image_format

BLOCKS = 8
"""Of 8x8 numbers, that a program codes."""

PIXELS = 512
"""That a program makes of coded planes."""


def unsupported(image: Tensor, quality: Tensor, subsampling: Tensor) -> str | None:
    return "it computes in float32, and image is float64" if image.dtype == torch.float64 else obstacle(image.device)


def jpeg(image: Tensor, quality: Tensor, subsampling: Tensor) -> Tensor:
    """As `dasr_fast.reference.jpeg`."""
    if image.numel() == 0:
        return image.clone()
    y = torch.empty_like(image, memory_format=image_format(image))
    x, z = (t if t.dim() == 5 else t[:, None] for t in (image, y))
    (b, n, _, height, width), device = x.shape, image.device
    down, across = triton.cdiv(height, 8), triton.cdiv(width, 8)
    planes = torch.empty(b * n, 3, 8 * down, 8 * across, dtype=torch.uint8, device=device)
    steps = tables(quality.double()).int()
    launch(
        _code,
        b * n * 3 * triton.cdiv(down * across, BLOCKS),
        *(x, steps, transform_matrix(device).int(), subsampling, planes, n, height, width, *x.stride()),
        BLOCKS=BLOCKS,
        num_warps=4,
    )
    launch(
        _decode,
        b * n * triton.cdiv(height * width, PIXELS),
        *(planes, subsampling, z, n, height, width, *z.stride()),
        PIXELS=PIXELS,
        num_warps=4,
    )
    return y


@triton.jit
def _level(x, mask):
    """Pixels as whole numbers from 0 to 255; NaN counts as 0."""
    value = tl.load(x, mask=mask, other=0).to(tl.float32)
    value = tl.where(value > 0, value, 0.0)
    return (tl.where(value < 255, value, 255.0) + 0.5).to(tl.int32)


@triton.jit
def _rounded(sums, SHIFT: tl.constexpr):
    return (sums + (1 << (SHIFT - 1))) >> SHIFT


@triton.jit(do_not_specialize=["N", "H", "W"])
def _code(
    x, steps, matrix, subsampling, planes, N, H, W, xb, xn, xc, xh, xw, BLOCKS: tl.constexpr
):  # fmt: skip
    down, across = tl.cdiv(H, 8), tl.cdiv(W, 8)
    groups = tl.cdiv(down * across, BLOCKS)
    pid = tl.program_id(0)
    plane, image = pid // groups % 3, (pid // groups // 3).to(tl.int64)
    b = image // N
    chosen = tl.load(subsampling + b)
    columns, lines = tl.where((plane > 0) & (chosen > 0), 2, 1), tl.where((plane > 0) & (chosen == 2), 2, 1)
    own_across, rows = tl.cdiv(tl.cdiv(W, columns), 8), tl.cdiv(H, lines)
    block = (pid % groups * BLOCKS + tl.arange(0, BLOCKS))[:, None, None]
    inside = block < own_across * tl.cdiv(rows, 8)
    eight = tl.arange(0, 8)
    row = block // own_across * 8 + eight[None, :, None]
    column = block % own_across * 8 + eight[None, None, :]
    red = tl.where(plane == 0, 19595, tl.where(plane == 1, -11059, 32768))
    green = tl.where(plane == 0, 38470, tl.where(plane == 1, -21709, -27439))
    blue = tl.where(plane == 0, 7471, tl.where(plane == 1, 32768, -5329))
    offset = tl.where(plane == 0, 32768, (128 << 16) + 32767)
    total = tl.zeros((BLOCKS, 8, 8), tl.int32)
    for number in tl.static_range(4):  # Pixels that one number of the plane is the mean of.
        use = inside & (number // 2 < lines) & (number % 2 < columns)
        h = tl.minimum(tl.minimum(row, rows - 1) * lines + number // 2, H - 1)
        w = tl.minimum(column * columns + number % 2, W - 1)
        at = x + b * xb + image % N * xn + h * xh + w * xw
        mixed = red * _level(at, use) + green * _level(at + xc, use) + blue * _level(at + 2 * xc, use)
        total += tl.where(use, (mixed + offset) >> 16, 0)
    # A bias that alternates along a row rounds halves down and up.
    bias = tl.where(columns == 2, column % 2 + lines - 1, 0)
    value = ((total + bias) >> (columns + lines - 2)) - 128
    square = tl.load(matrix + eight[:, None] * 8 + eight[None, :])
    step = tl.load(steps + (b * 2 + tl.where(plane == 0, 0, 1)) * 64 + eight[:, None] * 8 + eight[None, :])[None, :, :]
    value = _rounded(tl.sum(value[:, :, None, :] * square[None, None, :, :], 3), 11)
    value = _rounded(tl.sum(value[:, None, :, :] * square[None, :, :, None], 2), 15)
    level = (tl.abs(value) + 4 * step) // (8 * step) * step
    value = tl.where(value < 0, -level, level)
    back = tl.trans(square)
    value = _rounded(tl.sum(value[:, None, :, :] * back[None, :, :, None], 2), 11)
    value = _rounded(tl.sum(value[:, :, None, :] * back[None, None, :, :], 3), 18) + 128
    value = tl.minimum(tl.maximum(value, 0), 255)
    tl.store(planes + ((image * 3 + plane) * 8 * down + row) * 8 * across + column, value.to(tl.uint8), mask=inside)


@triton.jit
def _chroma(plane, pitch, near, far, i, beside, odd, columns, lines, narrow, mask):
    """Interpolated: the nearest number counts three times as much as the next."""
    nearest = tl.load(plane + near * pitch + i, mask=mask, other=0).to(tl.int32)
    two = mask & (lines == 2)
    here = tl.where(lines == 2, 3 * nearest + tl.load(plane + far * pitch + i, mask=two, other=0), nearest)
    there = tl.load(plane + near * pitch + beside, mask=mask, other=0).to(tl.int32)
    there = tl.where(lines == 2, 3 * there + tl.load(plane + far * pitch + beside, mask=two, other=0), there)
    bias = tl.where(lines == 2, 8 - odd, 1 + odd)
    return tl.where((columns == 1) | narrow, nearest, (3 * here + there + bias) >> (2 * lines)) - 128


@triton.jit(do_not_specialize=["N", "H", "W"])
def _decode(
    planes, subsampling, y, N, H, W, yb, yn, yc, yh, yw, PIXELS: tl.constexpr
):  # fmt: skip
    groups = tl.cdiv(H * W, PIXELS)
    pid = tl.program_id(0)
    image = (pid // groups).to(tl.int64)
    b = image // N
    pixel = pid % groups * PIXELS + tl.arange(0, PIXELS)
    mask, h, w = pixel < H * W, pixel // W, pixel % W
    chosen = tl.load(subsampling + b)
    columns, lines = tl.where(chosen > 0, 2, 1), tl.where(chosen == 2, 2, 1)
    near, i, odd, count = h // lines, w // columns, w % 2, tl.cdiv(W, columns)
    far = tl.minimum(tl.maximum(near + h % 2 * 2 - 1, 0), tl.cdiv(H, lines) - 1)
    beside = tl.minimum(tl.maximum(i + odd * 2 - 1, 0), count - 1)
    pitch = tl.cdiv(W, 8) * 8
    size = tl.cdiv(H, 8) * 8 * pitch
    plane = planes + image * 3 * size
    luma = tl.load(plane + h * pitch + w, mask=mask, other=0).to(tl.int32)
    narrow = count <= 2  # libjpeg repeats numbers of such narrow images.
    blue = _chroma(plane + size, pitch, near, far, i, beside, odd, columns, lines, narrow, mask)
    red = _chroma(plane + 2 * size, pitch, near, far, i, beside, odd, columns, lines, narrow, mask)
    out = y + b * yb + image % N * yn + h * yh + w * yw
    for channel in tl.static_range(3):
        of_blue = 0 if channel == 0 else -22554 if channel == 1 else 116130
        of_red = 91881 if channel == 0 else -46802 if channel == 1 else 0
        value = luma + ((of_blue * blue + of_red * red + 32768) >> 16)
        # The interpreter makes no bfloat16 of whole numbers.
        value = tl.minimum(tl.maximum(value, 0), 255).to(tl.float32)
        tl.store(out + channel * yc, value.to(y.dtype.element_ty), mask=mask)
