import copy

import pytest
import torch
from golden import error

from dasr_fast.inference.kernels_and_gates import KernelsAndGates
from dasr_fast.nn import DAConv

REPRESENTATION = 12


def da_convs() -> list[DAConv]:
    """Layers of several sizes and kinds, alike ones apart from each other."""
    options = (
        {},
        {"channels": 6},
        {"kernel_size": 5},
        {"gate": "none"},
        {"depthwise": "static"},
        {"kernel_activation": "prelu", "negative_slope": 0.3},
        {"kernel_activation": "none"},
        {"hidden": 7},
        {"kernel_activation": "relu", "reduction": 3},
        {},
    )
    return [DAConv(**{"channels": 4, "representation": REPRESENTATION, **choice}) for choice in options]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-15), (torch.float32, 1e-6), (torch.float16, 2.0**-11), (torch.bfloat16, 2.0**-8)],
)
def test_each_layer_gets_its_own(dtype: torch.dtype, tolerance: float):
    layers = da_convs()
    v = torch.randn(3, REPRESENTATION, dtype=torch.float64 if dtype == torch.float64 else torch.float32)
    results = KernelsAndGates(layers, dtype)(v)
    assert len(results) == len(layers)
    for layer, (kernel, gate) in zip(layers, results, strict=True):
        oracle = copy.deepcopy(layer).double()
        assert kernel.dtype == dtype
        assert kernel.is_contiguous()
        expected = oracle.kernel(v.double()).view(3, layer.channels, layer.kernel_size, layer.kernel_size)
        assert error(kernel.double(), expected) < tolerance
        assert (gate is None) == (oracle.ca is None)
        if gate is not None:
            assert gate.dtype == dtype
            assert gate.is_contiguous()
            assert error(gate.double(), oracle.ca.gate(v.double())) < tolerance
