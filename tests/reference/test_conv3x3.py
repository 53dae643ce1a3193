import pytest
import torch

from dasr_fast.reference import conv3x3


def _by_loops(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    b, _, h, w = x.shape
    y = torch.zeros(b, len(weight), h, w, dtype=x.dtype)
    for row in range(h):
        for column in range(w):
            for i in range(3):
                for j in range(3):
                    r, c = row + i - 1, column + j - 1
                    if 0 <= r < h and 0 <= c < w:
                        y[:, :, row, column] += x[:, :, r, c] @ weight[:, :, i, j].T
    return y


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (5, 6)])
def test_is_a_convolution_and_what_follows(size: tuple[int, int]):
    x, weight, bias = torch.randn(2, 4, *size).double(), torch.randn(3, 4, 3, 3).double(), torch.randn(3).double()
    residual = torch.randn(2, 3, *size).double()
    expected = _by_loops(x, weight)
    torch.testing.assert_close(conv3x3(x, weight, None, None, None), expected)
    expected = expected + bias[:, None, None]
    torch.testing.assert_close(conv3x3(x, weight, bias, None, None), expected)
    activated = torch.where(expected > 0, expected, 0.1 * expected)
    torch.testing.assert_close(conv3x3(x, weight, bias, residual, 0.1), activated + residual)
