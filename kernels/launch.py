"""Launching kernels on the tensors' device."""

from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl

COMPILED = {"enable_fp_fusion": True}
"""How all kernels are compiled."""


def launch(kernel: Any, programs: int, *arguments: Any, **options: Any) -> None:
    """Run `programs` instances of `kernel` on the current stream of the device of the first argument."""
    if programs == 0:
        return
    device = arguments[0].device
    elsewhere = device.type == "cuda" and device.index != torch.cuda.current_device()
    with torch.cuda.device(device) if elsewhere else nullcontext():
        kernel[(programs,)](*arguments, **COMPILED, **options)


def product_type(dtype: torch.dtype) -> tl.dtype:
    """Type of the operands of `tl.dot` for tensors of `dtype`: the same, but where Triton's interpreter errs."""
    if dtype == torch.bfloat16:
        # The interpreter multiplies the bits of bfloat16 as whole numbers.
        return tl.float32 if triton.knobs.runtime.interpret else tl.bfloat16
    return tl.float16 if dtype == torch.float16 else tl.float32
