"""Large pages for large tensors, by counting page faults."""

import mmap
import subprocess
import sys

import pytest

FAULTS = """
import mmap
import resource
import torch
from dasr_fast.cli.common import use_large_pages

SIZE = 2**28

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


def faults(function: str) -> int:
    program = [sys.executable, "-c", FAULTS.format(function=function)]
    return int(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="for Linux")
def test_large_pages():
    usual, possible = faults("of_tensor"), faults("of_large_pages")
    if possible > usual / 2:
        pytest.skip("this system gives none, or gives them to everybody")
    assert faults("after_the_call") < (usual + possible) / 2
