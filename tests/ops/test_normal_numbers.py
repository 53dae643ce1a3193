from typing import Any

import pytest
import scipy.stats
import torch

from dasr_fast import ops
from dasr_fast.reference.normal_numbers import philox
from tests.specification import backends_on_cpu

BACKENDS_HERE = backends_on_cpu("normal_numbers")
SEEDS = torch.tensor([0, 1, -5, 2**62 + 12345])


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((2**32 - 1,) * 4, (2**32 - 1,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_words_are_those_of_random123(counter: tuple[int, ...], key: tuple[int, int], expected: tuple[int, ...]):
    """Its file `kat_vectors`."""
    words = [torch.tensor([word]) for word in (*counter, *key)]
    assert tuple(word.item() for word in philox(words[:4], (words[4], words[5]))) == expected


@pytest.mark.parametrize("backend", BACKENDS_HERE)
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 31, 33, 16385, 50001])
def test_equal_to_the_reference(backend: str, count: int):
    found = ops.normal_numbers(SEEDS, count, backend=backend)
    assert found.dtype == torch.float32
    expected = ops.normal_numbers(SEEDS, count, backend="reference")
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert torch.equal(ops.normal_numbers(SEEDS[2:3], count, backend=backend)[0], found[2])


@pytest.mark.parametrize("backend", BACKENDS_HERE)
def test_they_are_normal_and_independent(backend: str):
    x = ops.normal_numbers(torch.tensor([7, 8]), 200000, backend=backend).double()
    for row in x:
        assert scipy.stats.kstest(row.numpy(), "norm").pvalue > 1e-3
    halves = torch.cat((x[:, :100000], x[:, 100000:], x[:, 1:100001]))
    assert (torch.corrcoef(halves) - torch.eye(6)).abs().max() < 0.015


def test_compile():
    compiled = torch.compile(ops.normal_numbers, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(SEEDS, 11), ops.normal_numbers(SEEDS, 11))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3, 4), TypeError, "seed must be a tensor; got int"),
        ((torch.zeros(2), 4), TypeError, "seed must be int64; got float32"),
        ((torch.zeros(2, 2).long(), 4), ValueError, r"seed must be \[B\].*; got \[2, 2\]"),
        ((SEEDS, -1), ValueError, "count must be a whole number of at least 0; got -1"),
    ],
)
def test_wrong_arguments(arguments: tuple[Any, ...], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        ops.normal_numbers(*arguments)
