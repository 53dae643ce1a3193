"""Kernels whose memory is refused: an error in Python, on any thread, and a library that goes on working."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from processes import printed

from dasr_fast.ops.backends import OPS, state
from tests.specification import SPECIFICATIONS

IMPLEMENTED = [op for op in SPECIFICATIONS if state(op, "cpp") is None]
pytestmark = [
    pytest.mark.skipif(not IMPLEMENTED, reason=f"no C++ kernels: {state(OPS[0], 'cpp')}"),
    pytest.mark.skipif(sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler"),
]

ALLOCATOR = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

extern void *__libc_malloc(size_t);

int refuse = 0, granted = 0; /* Once it refuses, the library gets so many pieces of memory more. */

void *malloc(size_t size) {
    Dl_info caller;
    if (__atomic_load_n(&refuse, __ATOMIC_SEQ_CST) && dladdr(__builtin_return_address(0), &caller) &&
        caller.dli_fname && strstr(caller.dli_fname, "_library.abi3.so") &&
        __atomic_fetch_sub(&granted, 1, __ATOMIC_SEQ_CST) <= 0)
        return NULL;
    return __libc_malloc(size);
}
"""

PROGRAM = """
import ctypes
import sys

import torch

from dasr_fast import ops
from dasr_fast.memory import is_out_of_memory
from tests.specification import SPECIFICATIONS

allocator = ctypes.CDLL(sys.argv[1])
refuse, granted = (ctypes.c_int.in_dll(allocator, name) for name in ("refuse", "granted"))


def refused(call):
    "How many pieces of memory the call asks for: it is refused each of them and all that follow."
    expected = call()
    for pieces in range(1000):
        granted.value, refuse.value = pieces, 1
        try:
            result = call()
        except RuntimeError as error:
            assert is_out_of_memory(error) and "bytes can't be had" in str(error), error
            continue
        finally:
            refuse.value = 0
        assert all(torch.equal(a, b) for a, b in zip(result, expected))
        return pieces
    raise AssertionError("it never stopped asking")


torch.set_num_threads(2)
for op in sys.argv[2:]:
    specification = SPECIFICATIONS[op]
    case = specification.cases[0]  # A small one, whose kernels ask for few pieces.
    for layout in (torch.contiguous_format, torch.channels_last):
        arguments = specification.arguments(case, torch.float32)
        if op != "blur_downsample":
            arguments["x"] = arguments["x"].contiguous(memory_format=layout)
        inputs = [value.requires_grad_() for value in arguments.values() if isinstance(value, torch.Tensor)]

        def forward():
            return [getattr(ops, op)(**arguments, backend="cpp").detach()]

        def backward():
            y = getattr(ops, op)(**arguments, backend="cpp")
            return torch.autograd.grad(y.square().sum(), inputs)

        print(op, min(refused(forward), refused(backward)))
"""


@pytest.mark.slow
def test_refused_memory_is_an_error(tmp_path: Path):
    source, allocator = tmp_path / "allocator.c", tmp_path / "allocator.so"
    source.write_text(ALLOCATOR)
    subprocess.run(["cc", "-O1", "-shared", "-fPIC", str(source), "-o", str(allocator), "-ldl"], check=True)
    output = printed("-c", PROGRAM, str(allocator), *IMPLEMENTED, LD_PRELOAD=str(allocator))
    asked = [line.split() for line in output.splitlines()]
    assert [op for op, _ in asked] == [op for op in IMPLEMENTED for _ in range(2)]
    assert all(int(pieces) > 0 for op, pieces in asked if op != "channel_modulation"), output
