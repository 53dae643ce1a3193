"""Large pages for large tensors, by counting page faults."""

import mmap
import os
import subprocess
import sys

import pytest

SIZE = 2**28

FAULTS = """
import mmap
import resource
import torch
from dasr_fast.cli.common import use_large_pages

SIZE = {size}

def of_tensor():
    torch.ones(SIZE // 4)

def of_large_pages():
    memory = mmap.mmap(-1, SIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    torch.frombuffer(memory, dtype=torch.uint8).fill_(1)

def after_the_call():
    use_large_pages()
    of_tensor()

before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
{function}()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(function: str) -> float:
    """Page faults of filling 256 MB in a new process, as a share of its pages."""
    program = [sys.executable, "-c", FAULTS.format(function=function, size=SIZE)]
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    output = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    return int(output) * mmap.PAGESIZE / SIZE


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="for Linux")
def test_large_pages():
    if faults("of_tensor") < 0.5:
        pytest.skip("this system gives large pages to everybody")
    if faults("of_large_pages") > 0.5:
        pytest.skip("this system gives no large pages")
    assert faults("after_the_call") < 0.1
