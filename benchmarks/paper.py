"""Figures of the paper, to stand beside measured ones: PSNR in dB on Y, by table, scale, set, method and noise.

Source: Wang et al., Unsupervised Degradation Representation Learning for Blind Super-Resolution, CVPR 2021, Tables 2
and 3 (https://arxiv.org/abs/2104.00416; the released code's README shows both). The DASR of Table 2 was trained with
isotropic kernels and without noise, that of Table 3 with anisotropic ones and noise. Columns are those of
`dasr_fast.evaluation.table2` and `table3`.
"""

from typing import NamedTuple


class Quoted(NamedTuple):
    """A row of a table of the paper."""

    method: str
    noise: float
    psnr: tuple[float, ...]


SETS = ("Set5", "Set14", "B100", "Urban100")


def _table2(method: str, figures: str) -> dict[str, Quoted]:
    """A row of Table 2, whose figures are those of each of `SETS` in turn."""
    values = [float(figure) for figure in figures.split()]
    return {name: Quoted(method, 0.0, tuple(values[4 * i : 4 * i + 4])) for i, name in enumerate(SETS)}


TABLE_2 = {
    2: (
        _table2(
            "bicubic",
            "33.66 32.30 29.28 27.07 30.24 29.21 27.13 25.47 29.56 28.76 26.93 25.51 26.88 26.13 24.46 23.06",
        ),
        _table2(
            "DASR", "37.87 37.47 37.19 35.43 33.34 32.96 32.78 31.60 32.03 31.78 31.71 30.54 31.49 30.71 30.36 28.95"
        ),
    ),
    3: (
        _table2(
            "bicubic",
            "30.39 29.42 27.24 25.37 27.55 26.84 25.42 24.09 27.21 26.72 25.52 24.41 24.46 24.02 22.95 21.89",
        ),
        _table2(
            "DASR", "34.11 34.08 33.57 32.15 30.13 29.99 28.66 28.42 28.96 28.90 28.62 28.13 27.65 27.36 26.86 25.95"
        ),
    ),
    4: (
        _table2(
            "bicubic",
            "28.42 27.30 25.12 23.40 26.00 25.24 23.83 22.57 25.96 25.42 24.20 23.15 23.14 22.68 21.62 20.65",
        ),
        _table2(
            "IKC", "32.00 31.77 30.56 29.23 28.52 28.45 28.16 26.81 27.51 27.43 27.27 26.33 25.93 25.63 25.00 24.06"
        ),
        _table2(
            "DASR", "31.99 31.92 31.75 30.59 28.50 28.45 28.28 27.45 27.51 27.52 27.43 26.83 25.82 25.69 25.44 24.66"
        ),
    ),
}

TABLE_3 = (
    Quoted("DnCNN + IKC", 0.0, (27.71, 27.78, 27.11, 27.02, 26.93, 26.65, 26.50, 26.01, 25.33)),
    Quoted("DnCNN + IKC", 5.0, (26.91, 26.80, 24.87, 24.53, 24.56, 24.40, 24.06, 23.53, 23.06)),
    Quoted("DnCNN + IKC", 10.0, (26.16, 26.09, 24.55, 24.33, 24.35, 24.17, 23.92, 23.43, 23.01)),
    Quoted("DASR", 0.0, (27.99, 27.97, 27.53, 27.45, 27.43, 27.22, 27.19, 26.83, 26.21)),
    Quoted("DASR", 5.0, (27.25, 27.18, 26.37, 26.16, 26.09, 25.96, 25.85, 25.52, 25.04)),
    Quoted("DASR", 10.0, (26.57, 26.51, 25.64, 25.47, 25.43, 25.31, 25.16, 24.80, 24.43)),
)
"""On Set14 at x4."""


def quoted(table: str, scale: int, images: str) -> list[Quoted]:
    """The paper's rows for a set of images; none if it has none."""
    if table == "2":
        return [row[images] for row in TABLE_2.get(scale, ()) if images in row]
    return list(TABLE_3) if (scale, images) == (4, "Set14") else []
