"""Part `build`: the compiled kernels, for this GPU alone."""

import importlib.util
import os
import sys

from benchmarks.acceptance.part import AbsentError, Asked, Report, said


def run(asked: Asked, report: Report) -> None:
    """Run `python -m dasr_fast.build`."""
    if importlib.util.find_spec("ninja") is None:
        raise AbsentError("it needs the Python package ninja")
    environment = dict(os.environ)
    if asked.on_gpu:
        environment["TORCH_CUDA_ARCH_LIST"] = architecture()
    what = "cuda" if asked.on_gpu else "cpu"
    command = [sys.executable, "-m", "dasr_fast.build", "--what", what]
    status, text = said(command, asked.folder / "build.txt", asked.left, environment)
    lines = text.strip().splitlines()
    report.line = "; ".join(lines[-3:])
    if status is None:
        report.fail("the compiler was stopped")
    elif status:
        errors = [line for line in lines if "error" in line.lower()]
        report.fail((errors or lines or [f"status {status}"])[0])


def architecture() -> str:
    """Of this GPU, with the instructions of the H100's generation alone where it is of that."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}" + "a" * ((major, minor) == (9, 0))
