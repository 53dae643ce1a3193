import torch

from dasr_fast.reference import channel_modulation


def test_is_a_product_and_a_sum():
    x, gate, residual = torch.randn(2, 3, 4, 5), torch.rand(2, 3), torch.randn(2, 3, 4, 5)
    expected = torch.stack([torch.stack([x[b, c] * gate[b, c] + residual[b, c] for c in range(3)]) for b in range(2)])
    torch.testing.assert_close(channel_modulation(x, gate, residual), expected)
