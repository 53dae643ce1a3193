import torch
import torch.nn.functional as F

from dasr_fast.reference import da_conv


def _inputs(out: int = 4) -> list[torch.Tensor]:
    shapes = ((2, 4, 5, 6), (2, 4, 3, 3), (out, 4), (out,), (2, 4))
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def test_is_the_sum_of_both_branches():
    x, kernel, weight, bias, gate = _inputs()
    patches = F.unfold(x, 3, padding=1).reshape(2, 4, 9, 5, 6)
    filtered = torch.einsum("bctij,bct->bcij", patches, kernel.flatten(2))
    filtered = torch.where(filtered > 0, filtered, 0.1 * filtered)
    expected = torch.einsum("oc,bcij->boij", weight, filtered) + bias[:, None, None] + x * gate[:, :, None, None]
    torch.testing.assert_close(da_conv(x, kernel, weight, bias, gate, 0.1, False), expected)
    activated = torch.where(expected > 0, expected, 0.1 * expected)
    torch.testing.assert_close(da_conv(x, kernel, weight, bias, gate, 0.1, True), activated)


def test_without_gate_the_channels_may_change():
    x, kernel, weight, _, _ = _inputs(out=7)
    assert da_conv(x, kernel, weight, None, None, 0.1, False).shape == (2, 7, 5, 6)
