"""Triton's compiler on a machine without a GPU, and on all its cores."""

import ast
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any
from unittest import mock

import triton
from triton.backends.compiler import GPUTarget


class AbsentGPU:
    """Triton's driver of a GPU that isn't there."""

    def __init__(self, capability: tuple[int, int]) -> None:
        self.architecture = 10 * capability[0] + capability[1]

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> str:
        return f"sm_{self.architecture}"  # Triton keeps kernels by device.

    def get_current_stream(self, device: str) -> int:
        return 0


@contextmanager
def compiled_together() -> Iterator[None]:
    """Let Triton compile on all cores what is called meanwhile; errors are left for the result to raise."""
    lock, parse = Lock(), ast.parse

    def parse_alone(*arguments: Any, **options: Any) -> ast.AST:  # CPython before 3.11.8 fails if two threads parse.
        with lock:
            return parse(*arguments, **options)

    patched = mock.patch.object(ast, "parse", parse_alone)
    with patched, ThreadPoolExecutor() as pool, triton.AsyncCompileMode(pool, ignore_errors=True):
        yield
