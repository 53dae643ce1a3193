import torch
import torch.nn.functional as F

from dasr_fast.reference import da_conv


def test_is_the_sum_of_both_branches():
    shapes = ((2, 4, 5, 6), (2, 4, 3, 3), (4, 4), (4,), (2, 4))
    x, kernel, weight, bias, gate = (torch.randn(shape, dtype=torch.float64) for shape in shapes)
    patches = F.unfold(x, 3, padding=1).reshape(2, 4, 9, 5, 6)
    filtered = torch.einsum("bctij,bct->bcij", patches, kernel.flatten(2))
    filtered = torch.where(filtered > 0, filtered, 0.1 * filtered)
    expected = torch.einsum("oc,bcij->boij", weight, filtered) + bias[:, None, None] + x * gate[:, :, None, None]
    torch.testing.assert_close(da_conv(x, kernel, weight, bias, gate, 0.1, False), expected)
    activated = torch.where(expected > 0, expected, 0.1 * expected)
    torch.testing.assert_close(da_conv(x, kernel, weight, bias, gate, 0.1, True), activated)
