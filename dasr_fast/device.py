"""Where to compute, and how tensors get there."""

import platform
import re
from pathlib import Path

import torch
from torch import Tensor


def find_device(name: str) -> torch.device:
    """The device "cpu" or "cuda"; "auto" is a GPU where there is one.

    Raises:
        ValueError: There is no such device here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no NVIDIA GPU that PyTorch can use; --device cpu does without.")
    return torch.device(name)


def processor_name() -> str:
    """The CPU's name as the system tells it, without (R), (TM) and a last "Processor"."""
    facts = Path("/proc/cpuinfo")
    for line in facts.read_text().splitlines() if facts.is_file() else []:
        if line.startswith("model name"):
            return re.sub(r"\((R|TM)\)| Processor$", "", line.partition(":")[2].strip())
    return platform.processor() or platform.machine()


def on_device(numbers: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on a device, without waiting for it."""
    return numbers if numbers.device == device else numbers.pin_memory().to(device, non_blocking=True)
