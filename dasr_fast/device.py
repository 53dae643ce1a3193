"""Where to compute."""

import torch


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
