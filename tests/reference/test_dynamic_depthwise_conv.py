import itertools

import torch

from dasr_fast.reference import dynamic_depthwise_conv


def test_is_the_sum_over_taps():
    x, kernel = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(2, 3, 5, 5, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for b, c, i, j in itertools.product(*map(range, x.shape)):
        for u, v in itertools.product(range(5), range(5)):
            row, column = i + u - 2, j + v - 2
            if 0 <= row < 5 and 0 <= column < 4:
                expected[b, c, i, j] += kernel[b, c, u, v] * x[b, c, row, column]
    torch.testing.assert_close(dynamic_depthwise_conv(x, kernel, None), expected)
    activated = torch.where(expected > 0, expected, 0.1 * expected)
    torch.testing.assert_close(dynamic_depthwise_conv(x, kernel, 0.1), activated)
