"""Every CUDA kernel, compiled for GPUs without having one, keeps its values in registers."""

from pathlib import Path

import pytest
from ptxas import Resources, compile_kernels, obstacle, read

from dasr_fast.build import record

ARCHITECTURES = ("8.0", "9.0")
SHARED_MEMORY = 48 * 1024
"""Bytes of fixed size that a block may have on every GPU."""

CSRC = record.sources()
SOURCES = sorted((CSRC / "cuda").glob("*.cu")) if CSRC else []


@pytest.mark.slow
@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_nothing_is_spilled(source: Path, architecture: str, tmp_path: Path):
    assert CSRC is not None
    kernels = compile_kernels(source, CSRC, architecture, tmp_path)
    assert kernels
    for kernel in kernels:
        print(f"{kernel.name:32} {kernel.registers:3} registers {kernel.shared:6} bytes of shared memory")
    spilled = [str(kernel) for kernel in kernels if kernel.spilled or kernel.stack]
    assert not spilled, "\n".join(spilled)
    too_large = [str(kernel) for kernel in kernels if kernel.shared > SHARED_MEMORY]
    assert not too_large, "\n".join(too_large)


def test_messages_are_understood_and_names_are_short():
    messages = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'forward' for 'sm_90'
ptxas info    : Function properties for forward
    24 bytes stack frame, 8 bytes spill stores, 16 bytes spill loads
ptxas info    : Used 168 registers, used 1 barriers, 24 bytes cumulative stack size, 4096 bytes smem
ptxas info    : Compiling entry function 'backward' for 'sm_90'
ptxas info    : Function properties for backward
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 12 registers, used 0 barriers
"""
    assert read(messages) == [
        Resources("forward", registers=168, stack=24, spilled=24, shared=4096),
        Resources("backward", registers=12, stack=0, spilled=0, shared=0),
    ]
    long = "void dasr_fast::(anonymous namespace)::forward<__half, 3, true>(dasr_fast::Problem)"
    assert Resources(long, 0, 0, 0, 0).name == Resources("forward", 0, 0, 0, 0).name == "forward"
