"""JPEG compression and decompression, as libjpeg-turbo's defaults do it.

Sequential JPEG with the standard tables of ITU-T T.81, Annex K; chroma averaged down, and up again by its "fancy"
triangle filter. Entropy coding loses nothing and is left out. Source of the steps: the documentation of libjpeg and
ITU-T T.81 and T.871.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from dasr_fast.reference.layout import image_format

BLOCK = 8

LUMINANCE = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *(4 * ((99,) * 8,)),
)

SUBSAMPLINGS = ((1, 1), (1, 2), (2, 2))
"""Rows and columns of a chroma sample: 4:4:4, 4:2:2 and 4:2:0, numbered as Pillow does."""


def jpeg(image: Tensor, quality: Tensor, subsampling: Tensor) -> Tensor:
    """What decoding gives after encoding, in the whole numbers of libjpeg's accurate integer transform.

    Args:
        image: RGB `[B, 3, H, W]` or `[B, N, 3, H, W]`, 0 to 255; rounded first. NaN counts as 0.
        quality: 1 to 100 for each sample, `[B]`; rounded.
        subsampling: 0 (4:4:4), 1 (4:2:2) or 2 (4:2:0) for each sample, `[B]`.

    Returns:
        Whole numbers in 0 to 255 in the shape, type and memory format of `image`. Each rounding passes gradients on.
    """
    height, width = image.shape[-2:]
    if image.numel() == 0:
        return image.clone()
    pixels = (image if image.dim() == 5 else image[:, None]).double()
    luma, chroma = _to_ycc(_floored(torch.where(pixels > 0, pixels, 0.0).clamp(max=255) + 0.5))
    table = tables(quality.double())
    luma = _coded(_padded(luma, BLOCK, BLOCK), table[:, 0])[..., :height, :width]
    decoded = [_coded_chroma(chroma, table[:, 1], *factors) for factors in SUBSAMPLINGS]
    chosen = decoded[0]
    for number in (1, 2):
        chosen = torch.where((subsampling == number).view(-1, 1, 1, 1, 1), decoded[number], chosen)
    y = _to_rgb(luma, chosen)
    return y.reshape(image.shape).to(image.dtype).contiguous(memory_format=image_format(image))


def _floored(x: Tensor) -> Tensor:
    """The next lower whole number; the gradient is that of `x`."""
    return x + (torch.floor(x.detach()) - x.detach())


def _to_ycc(rgb: Tensor) -> tuple[Tensor, Tensor]:
    """Luma `[B, N, 1, H, W]` and chroma `[B, N, 2, H, W]` (ITU-T T.871), with weights in parts of 2^16."""
    r, g, b = (rgb[:, :, channel : channel + 1] for channel in range(3))
    half, offset = 1 << 15, 128 << 16
    luma = 19595 * r + 38470 * g + 7471 * b + half
    blue = -11059 * r - 21709 * g + 32768 * b + offset + half - 1
    red = 32768 * r - 27439 * g - 5329 * b + offset + half - 1
    return _floored(luma / 65536), _floored(torch.cat([blue, red], 2) / 65536)


def _to_rgb(luma: Tensor, chroma: Tensor) -> Tensor:
    blue, red = chroma[:, :, :1] - 128, chroma[:, :, 1:] - 128
    r = luma + _floored(91881 * red / 65536 + 0.5)
    g = luma + _floored((-22554 * blue - 46802 * red) / 65536 + 0.5)
    b = luma + _floored(116130 * blue / 65536 + 0.5)
    return torch.cat([r, g, b], 2).clamp(0, 255)


def tables(quality: Tensor) -> Tensor:
    """Steps of the quantization of luma and chroma, `[B, 2, 8, 8]`."""
    quality = torch.floor(quality + 0.5).clamp(1, 100)
    percent = torch.where(quality < 50, torch.floor(5000 / quality), 200 - 2 * quality)
    return torch.floor((_base_tables(quality.device) * percent.view(-1, 1, 1, 1) + 50) / 100).clamp(1, 255)


@cache
def _base_tables(device: torch.device) -> Tensor:
    return torch.tensor([LUMINANCE, CHROMINANCE], dtype=torch.float64, device=device)


def _padded(x: Tensor, rows: int, columns: int) -> Tensor:
    """The image continued by its outermost pixels to a multiple of rows and columns."""
    bottom, right = -x.shape[-2] % rows, -x.shape[-1] % columns
    padded = F.pad(x.flatten(0, 1), (0, right, 0, bottom), mode="replicate")
    return padded.view(*x.shape[:2], *padded.shape[1:])


def _coded(x: Tensor, table: Tensor) -> Tensor:
    """Planes of whole blocks after transform, quantization and back, rounded and clamped."""
    shape = x.shape
    blocks = x.reshape(*shape[:-2], shape[-2] // BLOCK, BLOCK, shape[-1] // BLOCK, BLOCK).transpose(-3, -2) - 128
    transform = transform_matrix(x.device)
    # Rows, then columns; what is between them has two bits more, and what comes out is 8 times the transform.
    rows = _floored(blocks @ transform.T / 2**11 + 0.5)
    coefficients = _floored(transform @ rows / 2**15 + 0.5)
    steps = 8 * table.view(-1, 1, 1, 1, 1, BLOCK, BLOCK)
    levels = coefficients.sign() * torch.floor(
        (coefficients.abs() + torch.floor(steps / 2)) / steps
    )  # Halves outwards.
    coefficients = (coefficients + (levels * steps - coefficients).detach()) / 8
    columns = _floored(transform.T @ coefficients / 2**11 + 0.5)
    back = (_floored(columns @ transform / 2**18 + 0.5) + 128).clamp(0, 255)
    return back.transpose(-3, -2).reshape(shape)


@cache
def transform_matrix(device: torch.device) -> Tensor:
    """The cosine transform of 8 numbers times 2^13 sqrt(8), in the whole numbers that 11 multiplications give.

    Source: Loeffler, Ligtenberg and Moschytz, ICASSP 1989, with factors rounded to 13 bits.
    """
    a, b, c, d, e, f, g, h, i, j, k, m = (
        round(factor * 2**13)
        for factor in (
            *(0.541196100, 0.765366865, 1.847759065, 1.175875602, 0.298631336, 2.053119869),
            *(3.072711026, 1.501321110, 0.899976223, 2.562915447, 1.961570560, 0.390180644),
        )
    )
    one = 2**13
    even = [[one, one, one, one], [a + b, a, -a, -a - b], [one, -one, -one, one], [a, a - c, c - a, -a]]
    odd = [  # Of the differences of the outermost numbers to those of the innermost.
        [h - i - m + d, d, d - m, d - i],
        [d, g - j - k + d, d - j, d - k],
        [d - m, d - j, f - j - m + d, d],
        [d - i, d - k, d, e - i - k + d],
    ]
    rows = [
        row + [sign * number for number in reversed(row)]
        for pair in zip(even, odd, strict=True)
        for row, sign in zip(pair, (1, -1), strict=True)
    ]
    return torch.tensor(rows, dtype=torch.float64, device=device)


def _coded_chroma(x: Tensor, table: Tensor, rows: int, columns: int) -> Tensor:
    """Chroma planes averaged down over rows and columns, coded, and interpolated up again."""
    height, width = x.shape[-2:]
    x = _padded(_padded(x, rows, 1), 1, columns * BLOCK)
    if columns == 2:
        total = x[..., ::2] + x[..., 1::2]
        total = total if rows == 1 else total[..., ::2, :] + total[..., 1::2, :]
        # A bias that alternates along a row rounds halves down and up.
        bias = torch.arange(total.shape[-1], device=x.device) % 2 + (rows - 1)
        x = _floored((total + bias) / (rows * columns))
    x = _coded(_padded(x, BLOCK, BLOCK), table)
    x = x[..., : -(-height // rows), : -(-width // columns)]
    if columns == 2:
        x = _interpolated(x, rows)
    return x[..., :height, :width]


def _interpolated(x: Tensor, rows: int) -> Tensor:
    """Twice the columns, and as many or twice the rows: the nearest sample counts three times as much as the next."""
    if x.shape[-1] <= 2:  # libjpeg repeats samples of such narrow images.
        return x.repeat_interleave(2, -1).repeat_interleave(rows, -2)
    if rows == 2:
        above = torch.cat([x[..., :1, :], x[..., :-1, :]], -2)
        below = torch.cat([x[..., 1:, :], x[..., -1:, :]], -2)
        x = torch.stack([3 * x + above, 3 * x + below], -2).flatten(-3, -2)
    left = torch.cat([x[..., :1], x[..., :-1]], -1)
    right = torch.cat([x[..., 1:], x[..., -1:]], -1)
    size = 4 * (4 if rows == 2 else 1)
    offsets = (8, 7) if rows == 2 else (1, 2)
    both = torch.stack([3 * x + left + offsets[0], 3 * x + right + offsets[1]], -1)
    return _floored(both.flatten(-2) / size)
