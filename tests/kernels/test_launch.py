from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from dasr_fast.kernels.launch import launch


class Kernel:
    """Keeps what it is launched with."""

    def __init__(self) -> None:
        self.launched: list[Any] = []

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda *arguments, **options: self.launched.append((grid, arguments, options))


def test_launch():
    kernel, x = Kernel(), torch.zeros(1)
    launch(kernel, 0, x, 3, BLOCK=16)
    assert kernel.launched == []
    launch(kernel, 7, x, 3, BLOCK=16)
    assert kernel.launched == [((7,), (x, 3), {"BLOCK": 16, "enable_fp_fusion": True})]
