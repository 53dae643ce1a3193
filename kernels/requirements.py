"""What a machine must have for the kernels to run."""

import os
import shutil
import sysconfig
from functools import cache
from pathlib import Path

import torch
import triton

OLDEST = (8, 0)
"""First compute capability, (major, minor), whose tensor cores know bfloat16 and TF32."""


@torch.compiler.assume_constant_result
def obstacle(device: torch.device) -> str | None:
    """Why no kernel runs on a device, or None."""
    return _obstacle(device) if device.type == "cuda" else None


@cache
def _obstacle(device: torch.device) -> str | None:
    name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    if (major, minor) < OLDEST:
        return f"it needs compute capability {OLDEST[0]}.{OLDEST[1]}, and the {name} has {major}.{minor}"
    return _missing()


def _missing() -> str | None:
    """What is missing of that with which Triton compiles the launcher of each kernel, or None."""
    if triton.knobs.build.impl is not None or os.name != "posix":
        return None
    if not any(map(shutil.which, [os.environ["CC"]] if "CC" in os.environ else ["gcc", "clang"])):
        return "Triton needs a C compiler: gcc, clang, or the one that CC names"
    headers = Path(sysconfig.get_path("include", "posix_prefix"))
    return None if (headers / "Python.h").exists() else f"Triton needs Python's headers, and {headers} has no Python.h"
