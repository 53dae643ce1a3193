"""Settings of the process that runs a command, by what PyTorch, which reads them once, does with them."""

import mmap
from textwrap import dedent

import pytest
from processes import printed

CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def lines_after(program: str, *first: str, **variables: str | None) -> list[list[str]]:
    """Lines of what a program prints after each of some first statements, in forks of one process with PyTorch."""
    code = """
        import os
        import sys
        import torch
        from dasr_fast.cli import common

        for statement in {first!r}:
            if os.fork() == 0:
                exec(statement)
                exec({program!r})
                sys.stdout.flush()
                os._exit(0)
            assert os.wait()[1] == 0
            print("END", flush=True)
    """
    variables = {CAPACITY: None, "THP_MEM_ALLOC_ENABLE": None, **variables}
    output = printed("-c", dedent(code).format(first=first, program=dedent(program)), **variables)
    return [part.splitlines() for part in output.split("END\n")[:-1]]


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="for Linux")
def test_large_pages():
    size = 2**26
    program = f"""
        import mmap
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        if asked:
            memory = mmap.mmap(-1, {size}, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            memory.madvise(mmap.MADV_HUGEPAGE)
            torch.frombuffer(memory, dtype=torch.uint8).fill_(1)
        else:
            torch.ones({size // 4})
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    faults = lines_after(program, "asked = False", "asked = True", "asked = common.use_large_pages()")
    plain, large, after_the_call = (int(lines[0]) * mmap.PAGESIZE / size for lines in faults)
    if plain < 0.5 or large > 0.5:
        pytest.skip("this system gives large pages to everybody, or to nobody")
    assert after_the_call < 0.1


def test_old_primitives_are_forgotten():
    """Whether oneDNN has the primitive of the convolution of a size that came 40 sizes before."""
    program = """
        weight = torch.rand(16, 16, 3, 3)
        for height in (*range(100, 140), 100):
            torch.nn.functional.conv2d(torch.rand(1, 16, height, 64), weight)
    """
    forget = "common.forget_old_primitives()"
    kept = f"os.environ[{CAPACITY!r}] = '1024'; {forget}"
    found = []
    for lines in lines_after(program, "", forget, kept, ONEDNN_VERBOSE="profile_create"):
        convolutions = [line for line in lines if ",convolution," in line and "create:cache_" in line]
        if len(convolutions) != 41:
            pytest.skip("PyTorch computes these convolutions without oneDNN")
        found.append(convolutions[-1].partition("create:cache_")[2][:4].rstrip(","))
    assert found == ["hit", "miss", "hit"]
