"""Settings of the process that runs a command, by what PyTorch, which reads them once, does with them."""

import mmap
import os
import subprocess
import sys
from textwrap import dedent

import pytest

CAPACITY = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def printed(program: str, *first: str, **variables: str) -> list[list[str]]:
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
    environment = {name: value for name, value in os.environ.items() if name not in (CAPACITY, "THP_MEM_ALLOC_ENABLE")}
    done = subprocess.run(
        [sys.executable, "-c", dedent(code).format(first=first, program=dedent(program))],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return [part.splitlines() for part in done.stdout.split("END\n")[:-1]]


@pytest.mark.skipif(not hasattr(mmap, "MADV_HUGEPAGE"), reason="for Linux")
def test_large_pages():
    size = 2**28
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
    faults = printed(program, "asked = False", "asked = True", "asked = common.use_large_pages()")
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
    for lines in printed(program, "", forget, kept, ONEDNN_VERBOSE="profile_create"):
        convolutions = [line for line in lines if ",convolution," in line and "create:cache_" in line]
        if len(convolutions) != 41:
            pytest.skip("PyTorch computes these convolutions without oneDNN")
        found.append(convolutions[-1].partition("create:cache_")[2][:4].rstrip(","))
    assert found == ["hit", "miss", "hit"]
